import { CLIENT_ID, MAX_USER_LENGTH } from '../../../protocol/names.ts'
import type { EvaluatedEvent } from '../../../sync-config/types.ts'

/** The highest number. Clients store numbers as signed 64 bits. */
export const MAX_WRITE_CHECKPOINT = 2n ** 63n - 1n

/** The event whose payload rows are write checkpoints that the application numbers itself. */
const EVENT = 'write_checkpoints'

export interface CustomCheckpoint {
  user: string
  clientId: string
  n: bigint
}

/**
 * Returns the write checkpoint of a source row, from the columns `user_id`, `client_id` (may be NULL) and `checkpoint`
 * of the payload. Returns null for another event, and a string that says what is wrong with the row.
 */
export function customCheckpoint({ event, values, errors }: EvaluatedEvent): CustomCheckpoint | string | null {
  if (event !== EVENT) return null
  if (errors[0] !== undefined) return errors[0]
  const columns = new Map(values)
  const user = textOf(columns.get('user_id'))
  const client = columns.get('client_id') ?? ''
  const checkpoint = columns.get('checkpoint')
  const clientText = textOf(client)
  if (user === null || user === '') return 'user_id must be text or an integer'
  if (clientText === null) return 'client_id must be text'
  // No stream could ever use such a name, and it would be stored.
  if (user.length > MAX_USER_LENGTH) return `user_id is longer than ${MAX_USER_LENGTH} characters`
  if (clientText !== '' && !CLIENT_ID.test(clientText)) return `client_id must match ${CLIENT_ID.source}`
  if (typeof checkpoint !== 'bigint' && !(typeof checkpoint === 'string' && /^\d{1,19}$/.test(checkpoint))) {
    return 'checkpoint must be an integer'
  }
  const n = BigInt(checkpoint)
  if (n < 1n || n > MAX_WRITE_CHECKPOINT) return 'checkpoint must be in 1 … 2^63-1'
  return { user, clientId: clientText, n }
}

/** Returns the text as a token's `sub` has it, or null. */
function textOf(value: unknown): string | null {
  if (typeof value === 'string') return value
  return typeof value === 'bigint' ? value.toString() : null
}
