import type { BucketRpc } from '../../protocol/messages/bucket.ts'
import type { RelayRpc } from '../../protocol/messages/relay.ts'
import type { RevocationChange } from '../../protocol/messages/replicator.ts'
import { subjectHash, type ToldRevocation } from '../../protocol/revocations.ts'
import { MESSAGE_VERSION } from '../../protocol/versions.ts'
import { asyncFaultPoint } from '../shared/fault-points.ts'
import { inTurn } from './in-turn.ts'
import type { Store } from './store/store.ts'

export interface RevokingPorts {
  store: Store
  /** The relays that are attached. */
  relays(): readonly string[]
  /** Calls of the tenant's other objects, each with a deadline. */
  relay<T>(name: string, call: (relay: Pick<RelayRpc, 'revoke'>) => Promise<T>): Promise<T>
  bucket<T>(name: string, call: (bucket: Pick<BucketRpc, 'revoke'>) => Promise<T>): Promise<T>
}

/**
 * Revokes: see `ReplicatorRpc.revoke`. What begins afterwards is refused by the stored list. What has begun before is
 * at a relay or in a followed bucket, which are told. A relay that was just about to attach sees by the revision, when
 * its socket is opened, that it has missed something.
 */
export async function revoke(change: RevocationChange, ports: RevokingPorts): Promise<{ streams: number }> {
  const { store, relays, relay, bucket } = ports
  if (store.revocations.isLate(change)) return { streams: 0 }
  store.revocations.makeRoom(change)
  store.atomically(() => store.revocations.change(change))
  await asyncFaultPoint('replicator.revoked')
  if (change.kind === 'unrevoke') return { streams: 0 }
  const { of, value, before } = change.revocation
  const told: ToldRevocation = { of, hash: subjectHash(value), before }
  const { revision } = store.revocations
  const ended = await Promise.all(
    relays().map((name) => relay(name, (stub) => stub.revoke({ v: MESSAGE_VERSION, ...told, revision }))),
  )
  const followed = store.db.all('SELECT bucket FROM watchers ORDER BY bucket').map((row) => String(row.bucket))
  await inTurn(followed, async (name) => {
    ended.push(await bucket(name, (stub) => stub.revoke({ v: MESSAGE_VERSION, ...told })))
  })
  return { streams: ended.reduce((sum, each) => sum + each, 0) }
}
