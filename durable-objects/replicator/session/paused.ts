import type { Call, SourceConnection } from '../../../sources/source.ts'
import type { Store } from '../store/store.ts'
import type { HealthWatch } from './health-watch.ts'

/** In `WAL_CHECK_SECONDS`: how often what the source keeps for a suspended tenant is measured. */
export const PAUSED_CHECKS = 5
/** How long the source keeps anything for a suspended tenant. */
export const PAUSED_KEEP_MS = 24 * 3_600_000

/**
 * Measures what the source keeps for a tenant that is suspended, or whose replication is paused, and makes it forget
 * what is too much, whatever the policy says: nobody reads it, and it fills the disk of somebody's database. Returns
 * false when nothing is kept any more; then everything is compared when the tenant goes on. `since`: when that began,
 * in ms since 1970. A source that limits by itself what it keeps (`max_slot_wal_keep_size`) needs no more than this.
 */
export async function measurePaused(
  source: Pick<SourceConnection, 'health' | 'forget'>,
  call: () => Call,
  {
    health,
    store,
    since,
    now,
    is = 'suspended',
  }: {
    health: Pick<HealthWatch, 'measure'>
    store: Pick<Store, 'diagnostics'>
    since: number
    now: number
    is?: 'suspended' | 'paused'
  },
): Promise<boolean> {
  const found = await health.measure(source, call(), true)
  if (found === null) return false
  const isLate = now - since >= PAUSED_KEEP_MS
  if (found.level !== 'over' && found.level !== 'lost' && !isLate) return true
  await source.forget(call())
  const why = isLate ? `the tenant has been ${is} for 24 hours` : 'it keeps more than WAL_KEEP_GB, and nobody reads it'
  store.diagnostics.add({ code: 'ROCKPOOL_WAL_DROPPED', reason: `the slot of a ${is} tenant is dropped: ${why}` })
  return false
}
