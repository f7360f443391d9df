import {
  checkConnection,
  checkServer,
  connectSource,
  failoverAdvice,
  markerProblem,
  readSchema,
  slotProblem,
  standbyFacts,
  unfollowable,
  type Unfollowable,
} from '../sources/postgres/index.ts'
import { RockpoolError } from '../protocol/errors.ts'
import { loadPlan, namedColumns } from '../sync-config/index.ts'
import type { Plan } from '../sync-config/types.ts'
import { SETTINGS } from '../tenants/declarations.ts'
import { encryptionOf } from './check-encryption.ts'
import { checkCertificate } from './check-source.ts'
import { textOf, type Settings } from './settings.ts'
import { unusable } from './unusable.ts'

/** A database as the deployed script would find it. */
export interface Judged {
  schema: Awaited<ReturnType<typeof readSchema>>
  /** Problems that would stop the script from following anything. Each says what to do. */
  problems: string[]
  /** Its version, how connections are encrypted, and what a failover to its standby would need; for people. */
  about: string[]
  /**
   * Tables of the plan that could not be followed, or only in part. `named`: a column that the plan names is missing.
   * Missing tables are among the findings of the file.
   */
  tables(plan: Plan, named: boolean): Promise<Unfollowable[]>
  close(): Promise<void>
}

/** Throws UsageError for a database that cannot be queried. */
export async function judgeDatabase(url: string, settings: Settings): Promise<Judged> {
  const problems: string[] = []
  const note = async (ask: () => Promise<string | null | void>) => {
    try {
      const problem = await ask()
      if (typeof problem === 'string') problems.push(problem)
    } catch (error) {
      if (!(error instanceof RockpoolError)) throw error
      problems.push(error.message)
    }
  }
  const publication = textOf(settings, 'PUBLICATION')
  const ca = { ca: textOf(settings, 'DATABASE_CA') }
  const sql = connectable(url, ca)
  const close = () => sql.end({ timeout: 1 })
  try {
    await checkConnection(sql)
    await note(async () => void (await checkServer(sql)))
    // When the role or the server does not allow replication, a plain connection can explain it better.
    if (problems.length === 0) await note(() => replicates(url, ca))
    await note(() => checkCertificate(url, ca.ca))
    await note(() => slotProblem(sql, textOf(settings, 'SLOT') ?? SETTINGS.SLOT.preset))
    await note(() => markerProblem(sql))
    const [version] = await sql.unsafe<{ server_version: string }[]>('SHOW server_version')
    const failover = failoverAdvice(await standbyFacts(sql)).map((advice) => `failover: ${advice}`)
    const about = [`Postgres ${version?.server_version}`, ...(await encryptionOf(url, ca.ca)), ...failover]
    const schema = await readSchema(sql)
    const tables = async (plan: Plan, named: boolean): Promise<Unfollowable[]> => {
      const loaded = loadPlan(plan)
      let found: Unfollowable[] = []
      await note(async () => {
        found = await unfollowable(sql, loaded.tables, publication, textOf(settings, 'OWN_PUBLICATION'), (names) => {
          const columns = namedColumns(loaded)(names)
          return named ? columns : { ...columns, named: new Set() }
        })
      })
      return found.filter(({ missing }) => !missing)
    }
    return { schema, problems, about, tables, close }
  } catch (error) {
    await close()
    throw unusable(error)
  }
}

/** Throws UsageError for a URL, or a DATABASE_CA, that cannot be used. */
function connectable(url: string, ca: { ca: string | undefined }): ReturnType<typeof connectSource> {
  try {
    return connectSource(url, ca)
  } catch (error) {
    throw unusable(error)
  }
}

/** Checks that a replication connection can be made, and that it leads to Postgres itself. Throws RockpoolError. */
async function replicates(url: string, ca: { ca: string | undefined }): Promise<void> {
  const walsender = connectSource(url, { ...ca, replication: true })
  await checkConnection(walsender).finally(() => walsender.end({ timeout: 1 }))
}
