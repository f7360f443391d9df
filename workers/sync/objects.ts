import type { Environment } from '../../durable-objects/environment.ts'
import { MESSAGE_VERSION } from '../../protocol/messages.ts'
import { bucketObjectName } from '../../protocol/names.ts'
import type { Budget } from './budget.ts'
import type { Held } from './held.ts'
import { READ_LENGTH } from './limits.ts'
import { planByHash } from './plans.ts'
import type { LineSink, StreamPorts } from './ports.ts'
import { openUpstream, type RelaySocket } from './upstream.ts'

const FIRST_WAIT_MS = 100
const MAX_WAIT_MS = 10_000

export interface ObjectPorts extends StreamPorts {
  /** What the stream was given, its claims, has changed. */
  again(): void
}

/** The ports of a stream over the objects of a tenant. Calls are repeated, each with a new stub, until they are answered or the stream ends. */
export function objectPorts(env: Environment, tenant: string, lines: LineSink, budget: Budget, held: Held): ObjectPorts {
  const { signal } = lines
  let upstream: RelaySocket | null = null

  async function untilAnswered<T>(call: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      signal.throwIfAborted()
      budget.call()
      try {
        return await call()
      } catch (error) {
        if (attempt === 5) console.warn('a call of a stream fails', error)
        await pause(attempt)
      }
    }
  }

  /** Ends early when the stream does. */
  async function pause(attempt: number): Promise<void> {
    const wait = Math.min(FIRST_WAIT_MS * 2 ** Math.min(attempt - 1, 20), MAX_WAIT_MS) * (0.5 + Math.random())
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, wait)
      signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true })
    })
  }

  const bucket = async (name: string) => env.BUCKET.getByName(await bucketObjectName(tenant, name))
  return {
    lines,
    pause,
    tails: (length) => held.set('tails', length),
    connect: async () => (upstream = await openUpstream(env, tenant, signal, budget, held)),
    again: () => upstream?.again(),
    plan: (hash) => untilAnswered(() => planByHash(env, tenant, hash)),
    read: (name, after, checkpoint) =>
      untilAnswered(async () => (await bucket(name)).read({ v: MESSAGE_VERSION, after, checkpoint, budget: READ_LENGTH })),
    rows: (name, checkpoint) => untilAnswered(async () => (await bucket(name)).rows({ v: MESSAGE_VERSION, checkpoint })),
  }
}
