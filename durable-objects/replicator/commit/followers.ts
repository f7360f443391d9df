import type { Store } from '../store/store.ts'
import type { Watchers } from './watchers.ts'

/** How often buckets that are followed directly are asked whether they still are. */
const FOLLOWERS_MS = 86_400_000

/** Once a day: a bucket that lost its streams together with its object has not said so. */
export function askFollowers({ state }: Pick<Store, 'state'>, watchers: Pick<Watchers, 'size' | 'publishAll'>): void {
  if (watchers.size === 0 || Date.now() - state.get('followersAsked') < FOLLOWERS_MS) return
  state.set('followersAsked', Date.now())
  watchers.publishAll()
}
