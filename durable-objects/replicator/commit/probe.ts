import { MESSAGE_VERSION } from '../../../protocol/versions.ts'
import type { AppendRequest } from '../../../protocol/messages/bucket.ts'
import { removeChecksum } from '../../../protocol/op-checksum.ts'
import { opText } from '../../../protocol/op-text.ts'
import type { Fence } from '../store/stored.ts'

const SUBKEY = 'fence'

/**
 * Returns an append of one op without effect, under an id above everything that was ever sent to the bucket. Once it is
 * answered, the bucket is at that id or beyond, and ignores earlier appends that may still be in flight.
 */
export function probeOf({ barrier, served }: Pick<Fence, 'barrier' | 'served'>): AppendRequest {
  const checksum = removeChecksum(SUBKEY)
  const body = opText(barrier, {
    op: 'REMOVE',
    objectType: 'rockpool',
    objectId: SUBKEY,
    subkey: SUBKEY,
    checksum,
    data: null,
  })
  return { v: MESSAGE_VERSION, first: barrier, last: barrier, count: 1, checksum, body, committed: served }
}
