import { DatabaseSync } from 'node:sqlite'
import { Database, withTables, type Rockpool } from './api/rockpool.ts'
import { LocalDatabase } from './core/database/database.ts'
import { storedSchema, type RowOf, type TypedSchema } from './schema.ts'
import { nodeSqlite } from './sqlite/node.ts'
import { MemoryServer, type TestServer } from './testing/server.ts'

export type { TestServer, UploadedTransaction } from './testing/server.ts'

/** The test server waits for nothing, so neither does its client: how long it pauses is of no use in a test. */
const NOWHERE = 'http://127.0.0.1:1'

export interface TestDatabaseOptions<S extends TypedSchema> {
  /** What the server has at the beginning. It is there after `db.synced()`. */
  rows?: { readonly [T in keyof S['tables']]?: readonly RowOf<S, T>[] }
  /** Whose database it is. Default `user`. */
  user?: string
}

/**
 * A database in memory, for tests of an application in Node (22.13 or newer), also with jsdom: the client that an
 * application has, without worker, file, or network, and a server that does what the test says. Timers must be real.
 */
export function createTestDatabase<S extends TypedSchema>(
  schema: S,
  { rows = {}, user = 'user' }: TestDatabaseOptions<S> = {},
): { db: Rockpool<S>; server: TestServer<S> } {
  const server = new MemoryServer(schema)
  for (const [name, all] of Object.entries(rows)) for (const row of all ?? []) server.put(name, row)
  const open = (): LocalDatabase => {
    const core = new LocalDatabase({
      db: nodeSqlite(new DatabaseSync(':memory:')),
      kind: 'memory',
      flush: () => {},
      schema: storedSchema(schema),
      user,
      url: NOWHERE,
      socket: () => server.socket(),
      identify: () => Promise.resolve({ token: 'test', subject: user }),
      post: (body) => server.post(body),
      checkpoint: () => server.checkpoint(),
    })
    server.woken = () => core.wake()
    void core.connect()
    return core
  }
  return { db: withTables(new Database(schema, 'memory', open)), server }
}
