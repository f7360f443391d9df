import type { Store } from '../store/store.ts'
import type { Watchers } from './watchers.ts'

/** Milliseconds between two questions to followed buckets whether they still have streams. */
const FOLLOWERS_MS = 86_400_000

/**
 * Asks followed buckets once a day, because a bucket that lost its streams together with its object could not report
 * it.
 */
export function askFollowers({ state }: Pick<Store, 'state'>, watchers: Pick<Watchers, 'size' | 'publishAll'>): void {
  if (watchers.size === 0 || Date.now() - state.get('followersAsked') < FOLLOWERS_MS) return
  state.set('followersAsked', Date.now())
  watchers.publishAll()
}
