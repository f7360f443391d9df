import type { Store } from '../store/store.ts'
import type { Verification } from './verification.ts'

/**
 * After an older release has run on this storage, everything is compared and repaired. Mailboxes are written first: a
 * client that waits for its number shows nothing new until then.
 */
export function repairAfterOlderRelease(store: Store, verification: Verification): void {
  const { state } = store
  if (!state.get('returned') || !state.get('round')?.done || verification.running || store.planStored === null) return
  store.atomically(() => {
    state.set('returned', false)
    verification.start(true)
  })
}
