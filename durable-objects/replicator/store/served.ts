import type { Serving } from '../../../protocol/messages/replicator.ts'
import type { State } from './storage.ts'

/** Returns what is announced to clients, relays and buckets. */
export const servedOf = ({ committed, plan, hold }: State['commit']): Serving =>
  hold ? { checkpoint: hold.checkpoint, plan: hold.plan } : { checkpoint: committed, plan }
