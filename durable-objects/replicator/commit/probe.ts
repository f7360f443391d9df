import { MESSAGE_VERSION } from '../../../protocol/versions.ts'
import type { AppendRequest } from '../../../protocol/messages/bucket.ts'
import { removeChecksum } from '../../../protocol/op-checksum.ts'
import { opText } from '../../../protocol/op-text.ts'
import type { Fence } from '../store/stored.ts'

const SUBKEY = 'fence'

/**
 * An append of one op that does nothing, under an id above which nothing was ever sent to the bucket. When it is answered the bucket is at that id or beyond, and ignores
 * whatever of before may still be on its way.
 */
export function probeOf({ barrier, served }: Pick<Fence, 'barrier' | 'served'>): AppendRequest {
  const checksum = removeChecksum(SUBKEY)
  const body = opText(barrier, { op: 'REMOVE', objectType: 'rockpool', objectId: SUBKEY, subkey: SUBKEY, checksum, data: null })
  return { v: MESSAGE_VERSION, first: barrier, last: barrier, count: 1, checksum, body, committed: served }
}
