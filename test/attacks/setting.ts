import { startEdge, type Edge } from '../support/edge.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { statusOf } from '../support/status.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../support/support.ts'
import { HttpLines } from '../wire/lines.ts'

/** A database and an edge over it, and streams of users that know nothing but their own tokens. */
export interface Attacked {
  edge: Edge
  /** Where its objects are stored. */
  directory: string
  postgres: TestPostgres
  secret: string
  stream(user: string, clientId: string): Promise<HttpLines>
  stop(): Promise<void>
}

/** Each user has the notes that he owns. */
export const NOTES_OF_OWNER = `bucket_definitions:
  notes:
    parameters: SELECT request.user_id() AS owner_id
    data:
      - SELECT id, owner_id, text FROM notes WHERE owner_id = bucket.owner_id
`

export async function attacked(tables: string, syncConfig: string): Promise<Attacked> {
  const secret = newSecret()
  const directory = await temporaryDirectory()
  const postgres = await startPostgres()
  await postgres.sql().unsafe(tables)
  const stored = `${directory.path}/edge`
  const edge = await startEdge({
    databaseUrl: postgres.url,
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    syncConfig,
    directory: stored,
  })
  await until('the first copy', async () => (await statusOf(edge.url, secret)).plan !== null)
  return {
    edge,
    directory: stored,
    postgres,
    secret,
    stream: async (user, clientId) =>
      HttpLines.open(edge.url, await token(secret, user), { raw_data: true, client_id: clientId }),
    stop: async () => {
      await edge.dispose()
      await postgres.stop()
      await directory.remove()
    },
  }
}

/** Lines up to the end of the next checkpoint, as the client saw them. */
export async function checkpoint(
  lines: HttpLines,
): Promise<{ buckets: { bucket: string; count: number }[]; text: string }> {
  const came = await lines.until('checkpoint_complete')
  const buckets = came.flatMap((line) => {
    if ('checkpoint' in line) return line.checkpoint.buckets
    return 'checkpoint_diff' in line ? line.checkpoint_diff.updated_buckets : []
  })
  return {
    buckets: buckets.map(({ bucket, count }) => ({ bucket, count })),
    text: came.map((line) => JSON.stringify(line)).join('\n'),
  }
}

/** Checkpoints until one of them contains a text; all that came. */
export async function checkpointsUntil(lines: HttpLines, text: string): Promise<string> {
  let came = ''
  while (!came.includes(text)) came += `${(await checkpoint(lines)).text}\n`
  return came
}
