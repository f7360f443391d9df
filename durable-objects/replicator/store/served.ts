import type { Serving } from '../../../protocol/messages/replicator.ts'
import type { State } from './storage.ts'

/** What clients, relays and buckets are told. */
export const servedOf = ({ committed, plan, hold }: State['commit']): Serving =>
  hold ? { checkpoint: hold.checkpoint, plan: hold.plan } : { checkpoint: committed, plan }
