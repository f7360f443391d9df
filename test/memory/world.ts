import type { Sql } from 'postgres'
import type { ReplicatorStatus } from '../../protocol/messages/status.ts'
import { Follower } from '../support/follower.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { requestWriteCheckpoint, statusOf } from '../support/status.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../support/support.ts'
import { Isolates } from './isolates.ts'
import { Reader, type Pace } from './reader.ts'

/**
 * Less than the 128 MB of the platform, which count what is outside of the heap as well. `ROCKPOOL_MEMORY_MB` for other
 * limits: what still passes says how much is needed.
 */
export const HEAP_MB = Number(process.env.ROCKPOOL_MEMORY_MB ?? 100)
/** Behind what was written buckets are compacted within the scenario. */
const COMPACTION_SECONDS = 10

/** What a scenario needs before the edge starts. */
export interface Needs {
  /** SQL. */
  tables: string
  /** Entries of `streams` of the sync config. */
  streams: string
  bindings?: Record<string, string>
}

/** A database and the bundle over it, in isolates with limits. */
export class World {
  readonly isolates: Isolates
  readonly #postgres: TestPostgres
  readonly #secret: string
  readonly #closing: (() => Promise<void>)[]

  private constructor(isolates: Isolates, postgres: TestPostgres, secret: string, closing: (() => Promise<void>)[]) {
    this.isolates = isolates
    this.#postgres = postgres
    this.#secret = secret
    this.#closing = closing
  }

  /** `prepare`: SQL of rows that are there to be copied. */
  static async start(needs: readonly Needs[], prepare: readonly string[]): Promise<World> {
    const closing: (() => Promise<void>)[] = []
    try {
      const directory = await temporaryDirectory(true)
      closing.push(() => directory.remove())
      const postgres = await startPostgres({ synchronous_commit: 'off' })
      closing.push(() => postgres.stop())
      for (const { tables } of needs) await postgres.sql().unsafe(tables)
      for (const statement of prepare) await postgres.sql().unsafe(statement)
      const secret = newSecret()
      const isolates = await Isolates.start({
        directory: directory.path,
        heapMb: HEAP_MB,
        bindings: {
          DATABASE_URL: postgres.url,
          JWT_SECRET: secret,
          JWT_AUDIENCE: AUDIENCE,
          SYNC_CONFIG: `config: { edition: 3 }\nstreams:\n${needs.map(({ streams }) => streams).join('')}`,
          COMPACTION_SECONDS: String(COMPACTION_SECONDS),
          ...Object.assign({}, ...needs.map(({ bindings = {} }) => bindings)),
        },
        ...(process.env.ROCKPOOL_LOG ? { log: (line: string) => console.log(line) } : {}),
      })
      closing.push(() => isolates.dispose())
      const world = new World(isolates, postgres, secret, closing)
      if (process.env.ROCKPOOL_LOG) {
        const look = setInterval(
          () =>
            void world
              .status()
              .catch(String)
              .then((status) => console.log(JSON.stringify([isolates.peaks, status]))),
          10_000,
        )
        closing.push(async () => clearInterval(look))
      }
      const { error } = await until(
        'the first copy',
        async () => world.#begun(),
        1_200,
        () => world.status(),
      )
      if (error) throw new Error(error.message)
      return world
    } catch (error) {
      for (const close of closing.reverse()) await close()
      throw error
    }
  }

  async #begun(): Promise<ReplicatorStatus | false> {
    const status = await this.status()
    return (status.plan !== null || status.state === 'refused') && status
  }

  get sql(): Sql {
    return this.#postgres.sql()
  }

  status(): Promise<ReplicatorStatus> {
    return statusOf(this.isolates.url, this.#secret)
  }

  /** A client that keeps what it receives, at its first checkpoint. */
  async follower(user: string): Promise<Follower> {
    const follower = new Follower({
      url: this.isolates.url,
      token: () => token(this.#secret, user),
      clientId: clientId(user),
    })
    this.#closing.push(() => follower.close())
    await until(
      `a checkpoint of ${user}`,
      async () => follower.checkpoints > 0,
      120,
      async () => [follower.state, await this.status()],
    )
    return follower
  }

  /** A client that keeps nothing; it has begun to connect. */
  async reader(user: string, claims: Record<string, unknown> = {}, pace: Pace = 'fast'): Promise<Reader> {
    const bearer = await token(this.#secret, user, 12 * 3_600, claims)
    const reader = new Reader({ url: this.isolates.url, token: bearer, clientId: clientId(user), pace })
    this.#closing.push(async () => reader.close())
    return reader
  }

  /** Until the client has everything that was committed before. */
  async settled(follower: Follower, user: string): Promise<void> {
    const bearer = await token(this.#secret, user)
    const write = await until('a write checkpoint', () =>
      requestWriteCheckpoint(this.isolates.url, bearer, clientId(user)),
    )
    const seen = async () => [follower.state, this.isolates.peaks, await this.status()]
    await until('everything committed', async () => follower.writeCheckpoint >= write, 3_600, seen)
  }

  /** Until buckets had the time to be compacted. */
  async compacted(): Promise<void> {
    await new Promise((resolve) => setTimeout(resolve, 2.5 * COMPACTION_SECONDS * 1_000))
  }

  async stop(): Promise<void> {
    for (const close of this.#closing.reverse()) await close()
  }
}

const clientId = (user: string): string => user.replaceAll(' ', '-')
