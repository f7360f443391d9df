import { jwtVerify } from 'jose'
import { TestService } from '../../client/src/test-service.ts'
import { startEdge, type Edge } from '../support/edge.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token } from '../support/support.ts'

const SYNC_CONFIG = `
bucket_definitions:
  mine:
    parameters: SELECT request.user_id() AS user_id
    data:
      - SELECT id, owner_id, body FROM notes WHERE owner_id = bucket.user_id
`

interface Op {
  op: string
  id: string
  data: { owner_id?: string; body?: string } | null
}

/**
 * Notes of two people who use one device one after the other: a real edge over a real Postgres, and a backend that
 * believes the token of an upload.
 */
export class Notes {
  readonly secret = newSecret()
  readonly directory: Awaited<ReturnType<typeof temporaryDirectory>>
  readonly postgres: TestPostgres
  readonly edge: Edge
  readonly backend: TestService
  /** Who uploaded what. */
  readonly uploaded: { as: string; body: string }[] = []

  private constructor(parts: Pick<Notes, 'directory' | 'postgres' | 'edge' | 'backend' | 'secret'>) {
    this.secret = parts.secret
    this.directory = parts.directory
    this.postgres = parts.postgres
    this.edge = parts.edge
    this.backend = parts.backend
    this.backend.upload = async ({ authorization, body }) => {
      const { payload } = await jwtVerify(
        authorization.slice('Bearer '.length),
        Buffer.from(this.secret, 'base64url'),
        {
          audience: AUDIENCE,
        },
      )
      const as = String(payload.sub)
      const { ops }: { ops: Op[] } = JSON.parse(body)
      for (const { id, data } of ops) {
        this.uploaded.push({ as, body: data?.body ?? '' })
        await this.postgres.sql()`insert into notes values (${id}, ${as}, ${data?.body ?? ''}) on conflict (id) do nothing`
      }
      return { body: '{"ok":true}' }
    }
  }

  static async start(): Promise<Notes> {
    const secret = newSecret()
    const directory = await temporaryDirectory()
    const postgres = await startPostgres()
    await postgres.sql()`create table notes (id text primary key, owner_id text not null, body text not null)`
    const edge = await startEdge({
      databaseUrl: postgres.url,
      jwtSecret: secret,
      jwtAudience: AUDIENCE,
      syncConfig: SYNC_CONFIG,
      directory: `${directory.path}/edge`,
    })
    return new Notes({ directory, postgres, edge, backend: await TestService.start(), secret })
  }

  /** Both have a note on the server. */
  async prepare(): Promise<void> {
    this.uploaded.length = 0
    await this.postgres.sql()`delete from notes`
    await this.postgres.sql()`insert into notes values ('a', 'alice', 'her PIN is 4711'), ('b', 'bob', 'his own note')`
  }

  token(user: string): Promise<string> {
    return token(this.secret, user)
  }

  async end(): Promise<void> {
    await this.backend.close()
    await this.edge.dispose()
    await this.postgres.stop()
    await this.directory.remove()
  }
}
