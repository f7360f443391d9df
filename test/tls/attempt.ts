import type { connectTls } from '../../sources/postgres/tls/connection.ts'
import { ContentType } from '../../sources/postgres/tls/parameters.ts'
import { credentials, type Credentials } from './credentials.ts'
import { pipe, type ServerEnd } from './pipe.ts'
import { TestServer, type Behaviour } from './server.ts'
import { TestServer12, type Behaviour12 } from './server-12.ts'

export interface Attempt {
  /** `read N` bytes up to the end, or what went wrong. */
  outcome: string
  /** The alert that the server got. */
  alert: number | null
  server: TestServer
}

let usual: Promise<Credentials> | undefined

/** Of either version. */
export type AnyBehaviour = (Behaviour & { version?: undefined }) | Behaviour12

export const testServer = (end: ServerEnd, key: Credentials, behaviour: AnyBehaviour): TestServer =>
  behaviour.version === 12 ? new TestServer12(end, key, behaviour) : new TestServer(end, key, behaviour)

export type Plan = AnyBehaviour & {
  credentials?: () => Promise<Credentials>
  // A method, so that what is for one version passes for either.
  after?(server: TestServer): unknown
}

/** A connection to a server that behaves so: five bytes and the end, unless `after` has other plans. */
export async function attempt(connect: typeof connectTls, behaviour: Plan, deadline = 5_000): Promise<Attempt> {
  const { client, server: end } = pipe()
  const server = testServer(end, await (behaviour.credentials?.() ?? (usual ??= credentials(0x0403))), behaviour)
  const serving = (async () => {
    // Null: the client has gone, and its last record was an alert.
    if (!(await server.accept())) return
    if (behaviour.after) await behaviour.after(server)
    else {
      await server.send(ContentType.applicationData, new Uint8Array(5))
      await server.send(ContentType.alert, new Uint8Array([1, 0]))
    }
  })()
  serving.catch((error: Error) => end.reset(error))
  let outcome: string
  const late = new AbortController()
  const timer = setTimeout(() => {
    const reason = new Error('the deadline has passed')
    late.abort(reason)
    // The signal is for the handshake only.
    end.reset(reason)
  }, deadline)
  try {
    const socket = await connect(client, { host: 'localhost', verify: () => {}, signal: late.signal })
    let length = 0
    for await (const chunk of socket.readable) length += chunk.length
    outcome = `read ${length}`
  } catch (error) {
    outcome = error instanceof Error ? error.message : String(error)
  }
  clearTimeout(timer)
  await end.closed
  await serving.catch(() => {})
  return { outcome, alert: server.lastAlert ?? (await lastAlert(server)), server }
}

async function lastAlert(server: TestServer): Promise<number | null> {
  for (;;) {
    const record = await server.record().catch(() => null)
    if (!record) return null
    if (record.type === ContentType.alert) return record.data[1] ?? null
  }
}
