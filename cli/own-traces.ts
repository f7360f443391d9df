import { randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Sql } from 'postgres'
import { connectSource, dropSlot } from '../sources/postgres/index.ts'
import { SETTINGS } from '../tenants/declarations.ts'
import { RockpoolError } from '../protocol/errors.ts'
import { makeDataFolder } from './data-folder.ts'
import { textOf, type Settings } from './settings.ts'

const TRIES = 25
const WAIT_MS = 200
const LONGEST_MS = 10_000
const EARLIER_SLOT = 'rockpool'
/** What the example makes: see examples/todos/database.ts. */
const EXAMPLE_TABLES = 'lists, todos, upload_verdicts, upload_clients'

/** What `rockpool dev` makes in a database that is not its own. */
export interface Traces {
  slot: string
  /** Absent when there is one already, which is not changed. */
  publication: string | undefined
  /** Whether they are dropped at the end, because their names belong to this data folder alone. */
  ownSlot: boolean
  ownPublication: boolean
  example: boolean
}

/**
 * Slot and publication are those that the environment names, else names of this data folder alone: two readers of one
 * slot take changes from each other, and two that maintain one publication for different sync configs take tables from
 * each other. `[vars]` names those of the deployment, so it is ignored for these.
 */
export async function tracesOf(
  data: string,
  env: Settings,
  { given, example }: { given: Settings; example: boolean },
): Promise<Traces> {
  const own = await ownName(data)
  const [slot, publication] = [textOf(env, 'SLOT'), textOf(env, 'OWN_PUBLICATION')]
  return {
    slot: slot ?? own,
    ownSlot: slot === undefined,
    publication: textOf(given, 'PUBLICATION') === undefined ? (publication ?? own) : undefined,
    ownPublication: publication === undefined,
    example,
  }
}

/** Returns the settings with which the script makes them. */
export const traceBindings = ({ slot, publication }: Traces): Settings => ({
  SLOT: slot,
  OWN_PUBLICATION: publication ?? SETTINGS.OWN_PUBLICATION.preset,
})

/** Stores the name, so that after a kill the next start finds its slot again. */
async function ownName(data: string): Promise<string> {
  const file = join(data, 'dev-slot')
  const known = (await readFile(file, 'utf8').catch(() => '')).trim()
  if (/^rockpool_dev_[0-9a-f]{8}$/.test(known)) return known
  const name = `rockpool_dev_${randomBytes(4).toString('hex')}`
  await makeDataFolder(data)
  await writeFile(file, `${name}\n`)
  return name
}

/** Called when everything else has ended. Prints what stays in the database, and how to remove it. Always resolves. */
export async function removeTraces(
  url: string,
  ca: string | undefined,
  traces: Traces,
  say: (line: string) => void,
): Promise<void> {
  const { slot, publication, ownSlot, ownPublication, example } = traces
  const sql = connectSource(url, { ca, max: 1 })
  const over = AbortSignal.timeout(LONGEST_MS)
  const remove = async ({ what, own, harm, statement, work }: Trace): Promise<void> => {
    const failed = own ? await failureOf(work, over) : ''
    if (failed === null) say(`database   ${what} is dropped`)
    else
      say(
        `database   ${what} stays, and ${harm}: ${statement}${failed === '' ? '' : ` (it could not be dropped: ${failed})`}`,
      )
  }
  await remove({
    what: `the slot ${slot}`,
    own: ownSlot,
    harm: 'makes Postgres keep WAL until it is dropped',
    statement: dropSlotStatement(slot),
    work: () => dropReleased(sql, slot),
  })
  if (publication !== undefined) {
    const statement = `DROP PUBLICATION IF EXISTS ${publication}`
    const harm = 'costs nothing while nobody uses it'
    await remove({
      what: `the publication ${publication}`,
      own: ownPublication,
      harm,
      statement,
      work: () => sql.unsafe(statement),
    })
  }
  if (ownSlot && !over.aborted && (await unread(sql, EARLIER_SLOT).catch(() => false))) {
    say(
      `database   nobody reads the slot ${EARLIER_SLOT} at the moment. Earlier releases of rockpool dev left it; if nothing that is deployed uses it: ${dropSlotStatement(EARLIER_SLOT)}`,
    )
  }
  if (example) say(`database   the tables of the example stay: DROP TABLE ${EXAMPLE_TABLES}`)
  await sql.end({ timeout: 1 }).catch(() => {})
}

interface Trace {
  what: string
  /** Drops it now. */
  own: boolean
  harm: string
  statement: string
  work(): Promise<unknown>
}

const dropSlotStatement = (slot: string): string => `SELECT pg_drop_replication_slot('${slot}')`

/** Returns null when it is done. A database that does not answer must not keep the command from ending. */
async function failureOf(work: () => Promise<unknown>, over: AbortSignal): Promise<string | null> {
  const late = new Promise<never>((_, reject) => {
    const give = () => reject(new Error('Postgres does not answer'))
    if (over.aborted) give()
    else over.addEventListener('abort', give, { once: true })
  })
  try {
    await Promise.race([work(), late])
    return null
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}

/** Postgres needs a moment to notice that the holder of the slot has gone. */
async function dropReleased(sql: Sql, slot: string): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      return await dropSlot(sql, slot)
    } catch (error) {
      if (tries === TRIES || !(error instanceof RockpoolError) || error.code !== 'ROCKPOOL_SLOT_TAKEN') throw error
      await new Promise((resolve) => setTimeout(resolve, WAIT_MS))
    }
  }
}

const unread = async (sql: Sql, slot: string): Promise<boolean> =>
  (
    await sql`SELECT FROM pg_replication_slots WHERE slot_name = ${slot} AND NOT active AND database = current_database()`
  ).length > 0
