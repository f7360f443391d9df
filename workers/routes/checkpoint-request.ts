import { z } from 'zod'
import { clientId, int64Text, validated } from '../stream/body.ts'

/** A safe integer, or a string with any integer in 1 … 2^63-1. */
const id = z
  .union([int64Text, z.int()], 'must be an integer, or a decimal number in a string')
  .transform((value) => BigInt(value))
  .refine((value) => value > 0n, 'must be at least 1')
  .transform(String)

const shape = z.object({ client_id: clientId, checkpoint_request_id: id })

/** Parses the body of `POST /sync/checkpoint-request`. `id` is decimal, without leading zeros. Throws PSYNC_S2001. */
export function checkpointRequest(value: unknown): { clientId: string; id: string } {
  const { client_id, checkpoint_request_id } = validated(shape, value)
  return { clientId: client_id, id: checkpoint_request_id }
}
