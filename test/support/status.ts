import type { ReplicatorStatus } from '../../protocol/messages/status.ts'
import { token } from './support.ts'

/** Returns `/status` as an operator sees it. `/admin/status` looks at the source before it answers. */
export async function statusOf(
  url: string,
  secret: string,
  path: '/status' | '/admin/status' = '/status',
): Promise<ReplicatorStatus> {
  const response = await fetch(`${url}${path}`, {
    headers: { authorization: `Token ${await token(secret, 'ops', 60, { operator: true })}` },
  })
  const body: { data?: ReplicatorStatus } = await response.json()
  if (!body.data) throw new Error(`${path} was answered ${response.status}: ${JSON.stringify(body)}`)
  return body.data
}

/** Requests a write checkpoint. Its number arrives after everything that was committed before this call. */
export async function requestWriteCheckpoint(url: string, bearer: string, clientId: string): Promise<bigint> {
  const response = await fetch(`${url}/write-checkpoint2.json?client_id=${clientId}`, {
    headers: { authorization: `Token ${bearer}` },
  })
  const body: { data?: { write_checkpoint: string } } = await response.json()
  if (!body.data) throw new Error(`the write checkpoint was answered ${response.status}: ${JSON.stringify(body)}`)
  return BigInt(body.data.write_checkpoint)
}
