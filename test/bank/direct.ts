import { Followed } from '../follower.ts'
import type { WireOp } from '../../protocol/ops.ts'
import type { BankClient, ClientSetting } from './clients.ts'
import { bankRow, shownOf } from './shown.ts'

type Frame = { ops: WireOp[]; checkpoint?: { op_id: string; checksum: number; count: number }; error?: { code: string; message: string } }

/** A direct stream of the one bucket that the token gives. Its checks are those of a follower of lines. */
export async function directClient({ url, token, shows }: ClientSetting): Promise<BankClient> {
  const followed = new Followed()
  const problems: string[] = []
  /** Of the connection, also while it is being made. */
  let cut = new AbortController()
  let ended: unknown = null
  let bucket = ''
  let away = false
  let over = false
  const view = () =>
    shownOf(
      [...followed.buckets.values()].flatMap(({ rows }) =>
        [...rows.values()].map((data) => bankRow(JSON.parse(data) as Record<string, unknown>)),
      ),
    )

  const frame = ({ ops, checkpoint, error }: Frame): void => {
    // What the protocol says of faults, which are many here: connect again.
    if (error) return
    if (!checkpoint) return void waiting.push(...ops)
    const { op_id, checksum, count } = checkpoint
    const entry = { bucket, checksum, count, priority: 3, subscriptions: [] }
    if (followed.buckets.has(bucket))
      followed.line({ checkpoint_diff: { last_op_id: op_id, updated_buckets: [entry], removed_buckets: [] } })
    else followed.line({ checkpoint: { last_op_id: op_id, buckets: [entry], streams: [] } })
    const data = [...waiting.splice(0), ...ops]
    const last = data.at(-1)
    if (last) followed.line({ data: { bucket, after: '0', next_after: last.op_id, has_more: false, data } })
    followed.line({ checkpoint_complete: { last_op_id: op_id } })
    shows(view())
  }
  const waiting: WireOp[] = []

  async function connect(signal: AbortSignal): Promise<void> {
    const jwt = await token()
    const response = await fetch(`${url}/buckets`, { headers: { authorization: `Token ${jwt}` }, signal })
    const { data }: { data?: { buckets: { bucket: string }[] } } = await response.json()
    const name = data?.buckets[0]?.bucket
    if (name === undefined) throw new Error('there is no bucket yet')
    if (bucket !== '' && bucket !== name) problems.push(`the bucket was ${bucket} and is ${name}`)
    bucket = name
    waiting.length = 0
    const after = followed.buckets.get(bucket)?.after ?? 0
    const socket = new WebSocket(`${url.replace('http', 'ws')}/buckets/${encodeURIComponent(bucket)}/stream?after=${after}`, [
      'rockpool.direct',
      jwt,
    ])
    let frames = 0
    socket.onmessage = ({ data }) => {
      if (signal.aborted) return
      socket.send(JSON.stringify({ ack: ++frames }))
      frame(JSON.parse(String(data)) as Frame)
    }
    await new Promise((resolve) => {
      socket.onclose = resolve
      signal.onabort = resolve
    })
    socket.close()
  }

  const running = (async () => {
    while (!over) {
      cut = new AbortController()
      if (!away) await connect(cut.signal).catch((error: unknown) => (ended = error))
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
  })()
  return {
    disconnect() {
      away = true
      cut.abort()
    },
    connect: () => void (away = false),
    async close() {
      over = true
      cut.abort()
      await running
    },
    shown: async () => view(),
    state: () => ({ ...followed.state, away, bucket, ended: String(ended) }),
    get problems() {
      return [...followed.problems, ...problems]
    },
  }
}
