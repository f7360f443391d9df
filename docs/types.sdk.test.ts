import { createServer, type Server } from 'node:http'
import { readFile } from 'node:fs/promises'
import { openSync, type ColumnType, type SyncDatabase } from '@rockpool/client/node'
import { column, Schema, Table } from '@powersync/common'
import { PowerSyncDatabase } from '@powersync/node'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { Operator } from '../test/support/deploys.ts'
import { startEdge, type Edge } from '../test/support/edge.ts'
import { startPostgres, type TestPostgres } from '../test/support/postgres.ts'
import { AUDIENCE, connector, newSecret, temporaryDirectory, token, until } from '../test/support/support.ts'

// Makes the tables of docs/types.md from what a real Postgres, edge, client of ours and PowerSync SDK do; `npx vitest
// run --project sdk docs/types -u` writes them.

interface Case {
  type: string
  /** In Postgres, as SQL. */
  value: string
  /** Of the column in the schema of our client. */
  as?: ColumnType
  /** How a backend makes the value of Postgres from `$1`, the text of what was uploaded. Absent: by a cast. */
  back?: string
  /** The column of the query; absent: the column itself. */
  read?: (name: string) => string
}

const list = (type: string) => `ARRAY(SELECT jsonb_array_elements_text($1::text::jsonb))::${type}[]`
const bounds = (j: string) => `int4range((${j} ->> 'lower')::int, (${j} ->> 'upper')::int)`

const CASES: Case[] = [
  { type: 'smallint, integer, bigint', value: '7::int', as: 'integer' },
  { type: 'bigint', value: '9007199254740993::bigint', as: 'integer' },
  { type: 'bigint', value: '9007199254740993::bigint', read: (name) => `${name}::text` },
  { type: 'real, double precision', value: '0.1::float8', as: 'real' },
  { type: 'double precision', value: "'NaN'::float8", as: 'real' },
  { type: 'double precision', value: "'Infinity'::float8", as: 'real' },
  { type: 'numeric', value: '1200.50::numeric' },
  { type: 'money', value: '1234.5::money' },
  { type: 'boolean', value: 'true', as: 'boolean' },
  { type: 'text, varchar, citext', value: "'Größe'::text" },
  { type: 'char(n)', value: "'ab'::char(5)" },
  { type: 'uuid', value: "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::uuid" },
  { type: 'enum', value: "'happy'::mood" },
  { type: 'enum[]', value: "'{happy,sad}'::mood[]", as: 'json', back: list('mood') },
  { type: 'json', value: `'{"b":  1, "a": 2}'::json`, as: 'json' },
  { type: 'jsonb', value: `'{"b":  1, "a": 2}'::jsonb`, as: 'json' },
  { type: 'integer[]', value: "'{1,2,NULL}'::int[]", as: 'json', back: list('int') },
  { type: 'text[]', value: `'{bug,"a, b"}'::text[]`, as: 'json', back: list('text') },
  { type: 'date', value: "'2026-11-29'::date" },
  { type: 'time', value: "'17:42:01.5'::time" },
  { type: 'timestamp', value: "'2026-11-29 17:42:01.5'::timestamp" },
  { type: 'timestamptz', value: "'2026-11-29 17:42:01.5+02'::timestamptz" },
  { type: 'timestamptz', value: "'infinity'::timestamptz" },
  { type: 'timestamptz', value: "'0044-03-15 12:00 BC'::timestamptz" },
  { type: 'interval', value: "'1 day 2 hours'::interval" },
  { type: 'bytea', value: "'\\x00ff'::bytea" },
  { type: 'bytea', value: "'\\x00ff'::bytea", read: (name) => `hex(${name})`, back: "decode($1, 'hex')" },
  { type: 'bytea', value: "'\\x00ff'::bytea", read: (name) => `base64(${name})`, back: "decode($1, 'base64')" },
  { type: 'domain over integer', value: '7::posint', as: 'integer' },
  {
    type: 'composite',
    value: "ROW(1, 'a')::pair",
    as: 'json',
    back: 'jsonb_populate_record(NULL::pair, $1::text::jsonb)',
  },
  { type: 'int4range', value: "'[1,10)'::int4range", as: 'json', back: bounds('$1::text::jsonb') },
  {
    type: 'int4multirange',
    value: "'{[1,3),[5,7)}'::int4multirange",
    as: 'json',
    back: `(SELECT range_agg(${bounds('r')}) FROM jsonb_array_elements($1::text::jsonb) r)`,
  },
  { type: 'xml', value: `'<a b="c"/>'::xml` },
  { type: 'inet', value: "'192.168.1.5/24'::inet" },
  { type: 'macaddr', value: "'08002b010203'::macaddr" },
  { type: 'bit(n)', value: "B'101'::bit(3)" },
  { type: 'point', value: "'1.5,-2'::point" },
  { type: 'tsvector', value: "'a:1 b:2'::tsvector" },
  { type: 'hstore', value: `'a=>1'::hstore` },
  { type: 'any type', value: 'NULL::int', as: 'integer' },
]

/** A value of a column on a device, and its JSON in an upload; null: the upload lacks it. */
interface Seen {
  value: string
  uploaded: string | null
}

const names = CASES.map((_, i) => `c${i}`)
const typeOf = ({ value }: Case): string => /::([\w()]+(?:\[\])?)$/.exec(value)?.[1] ?? 'boolean'
const columns = CASES.map(({ read = (name) => name }, i) => `${read(`c${i}`)} AS c${i}`).join(', ')
const STREAMS = `config:\n  edition: 3\nstreams:\n  all:\n    auto_subscribe: true\n    query: SELECT id, twice, ${columns} FROM kinds\n`
const DEFINITIONS = `bucket_definitions:\n  all:\n    data:\n      - SELECT id, ${columns} FROM kinds\n`
const secret = newSecret()
let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let postgres: TestPostgres
let edge: Edge
let backend: Server
let ours: SyncDatabase
let sdk: PowerSyncDatabase
const bodies: string[] = []

beforeAll(async () => {
  directory = await temporaryDirectory()
  postgres = await startPostgres()
  await postgres.sql().unsafe(`
    CREATE EXTENSION hstore; CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE DOMAIN posint AS int CHECK (value > 0); CREATE TYPE pair AS (x int, y text);
    CREATE TABLE kinds (id text PRIMARY KEY, ${CASES.map((each, i) => `c${i} ${typeOf(each)}`).join(', ')},
      twice int GENERATED ALWAYS AS (c0 * 2) STORED);
    INSERT INTO kinds VALUES ('row', ${CASES.map(({ value }) => value).join(', ')})`)
  edge = await startEdge({
    databaseUrl: postgres.url,
    jwtSecret: secret,
    jwtAudience: AUDIENCE,
    directory: `${directory.path}/edge`,
    syncConfig: STREAMS,
  })
  backend = createServer((request, response) => {
    let body = ''
    request.on('data', (part: Buffer) => (body += part.toString()))
    request.on('end', () => {
      bodies.push(body)
      response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
    })
  })
  await new Promise<void>((resolve) => backend.listen(0, '127.0.0.1', resolve))
  const address = backend.address()
  const uploadUrl = `http://127.0.0.1:${typeof address === 'object' ? address?.port : 0}/`
  ours = await openSync({
    url: edge.url,
    uploadUrl,
    auth: () => token(secret, 'ann'),
    path: `${directory.path}/ours.db`,
    schema: {
      tables: {
        kinds: {
          columns: { twice: 'integer', ...Object.fromEntries(CASES.map(({ as = 'text' }, i) => [`c${i}`, as])) },
        },
      },
    },
  })
  const kind = (as: ColumnType = 'text') => ({ ...column, boolean: column.integer, json: column.text })[as]
  sdk = new PowerSyncDatabase({
    schema: new Schema({ kinds: new Table(Object.fromEntries(CASES.map(({ as }, i) => [`c${i}`, kind(as)]))) }),
    database: { dbFilename: 'sdk.db', dbLocation: directory.path, implementation: { type: 'node:sqlite' } },
  })
  await sdk.connect(
    connector(
      edge.url,
      () => token(secret, 'ann'),
      async (db) => {
        const tx = await db.getNextCrudTransaction()
        await fetch(uploadUrl, {
          method: 'POST',
          body: JSON.stringify({ ops: tx?.crud.map(({ opData }) => ({ data: opData })) }),
        })
        await tx?.complete()
      },
    ),
  )
  await Promise.all([ours.waitForSync({ timeout: 60_000 }), sdk.waitForFirstSync()])
})

afterAll(async () => {
  await ours?.close()
  await sdk?.close()
  backend?.close()
  await edge?.dispose()
  await postgres?.stop()
  await directory?.remove()
})

type Query = (sql: string) => Promise<{ v: unknown }[]>
const ofOurs: Query = (sql) => ours.query<{ v: unknown }>(sql)
const ofSdk: Query = (sql) => sdk.getAll<{ v: unknown }>(sql)

/** As JavaScript. One by one: the SDK in Node reads no row with an integer beyond 2^53. */
const valueOf = (query: Query, name: string): Promise<string> =>
  query(`SELECT ${name} AS v FROM kinds WHERE id = 'row'`).then(
    ([row]) => (typeof row?.v === 'bigint' ? `${row.v}n` : JSON.stringify(row?.v)),
    (error: unknown) => (error instanceof Error ? error.name : String(error)),
  )

/** What the columns of a client hold, and what is uploaded when a row with the same values is written. */
async function seen(query: Query, write: (sql: string) => Promise<unknown>): Promise<Seen[]> {
  const before = bodies.length
  await write(
    `INSERT INTO kinds (id, ${names.join(', ')}) SELECT 'copy', ${names.join(', ')} FROM kinds WHERE id = 'row'`,
  )
  const body = await until('the upload', async () => bodies[before])
  const uploaded = new Map<string, string>()
  // Digits of a number are what was written, not what JavaScript makes of them.
  JSON.parse(body, function (key, value: unknown, context?: { source?: string }) {
    if (names.includes(key)) uploaded.set(key, context?.source ?? JSON.stringify(value))
    return value
  })
  return Promise.all(
    names.map(async (name) => ({ value: await valueOf(query, name), uploaded: uploaded.get(name) ?? null })),
  )
}

/** Whether Postgres has the value of before again. */
async function comesBack(each: Case, { uploaded }: Seen): Promise<boolean> {
  const value: unknown = uploaded === null ? null : JSON.parse(uploaded)
  const text = value === null ? null : typeof value === 'string' ? value : uploaded
  const [row] = await postgres
    .sql()
    .unsafe<{ same: boolean }[]>(
      `SELECT (${each.back ?? `$1::text::${typeOf(each)}`})::text IS NOT DISTINCT FROM (${each.value})::text AS same`,
      [text],
    )
  return row?.same === true
}

/** JSON as SQL, in which quotes of JSON need no others. */
function code(json: string | null): string {
  const text = json?.startsWith('"') ? `'${String(JSON.parse(json))}'` : (json ?? 'null')
  return text === 'null' ? 'NULL' : `\`${text}\``
}

/** The same for both clients, or not. `as`: what need not be said again. */
function shown(ours: string | null, ofSdk: string | null, as?: string): string {
  const [mine, theirs] = [code(ours), code(ofSdk)]
  return `${mine === as ? 'the same' : mine}${mine === theirs ? '' : `; SDK: ${theirs}`}`
}

const table = (head: string[], rows: string[][]): string =>
  [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |\n`).join('')

test('the page says what comes', async () => {
  const [mine, theirs] = [
    await seen(ofOurs, (sql) => ours.write((tx) => tx.execute(sql))),
    await seen(ofSdk, (sql) => sdk.execute(sql)),
  ]
  const rows: string[][] = []
  for (const [i, each] of CASES.entries()) {
    const [a, b] = [mine[i], theirs[i]]
    if (!a || !b) throw new Error(each.type)
    const [back, backOfSdk] = [await comesBack(each, a), await comesBack(each, b)]
    rows.push([
      `${each.type}${each.read ? `, read as \`${each.read('x')}\`` : ''}`,
      `\`${each.value}\``,
      `\`${each.as ?? 'text'}\``,
      shown(a.value, b.value),
      shown(a.uploaded, b.uploaded, code(a.value)),
      `${!back ? 'lost' : each.back ? `\`${each.back}\`` : 'cast'}${back === backOfSdk ? '' : '; SDK: lost'}`,
    ])
  }
  // A PUT of an SDK lacks what is NULL, a PATCH has it.
  const before = bodies.length
  await sdk.execute("UPDATE kinds SET c0 = NULL WHERE id = 'row'")
  expect(await until('the upload', async () => bodies[before], 20)).toContain('{"c0":null}')
  // Postgres does not send what it generates.
  expect(await valueOf(ofOurs, 'twice')).toBe('null')

  const operator = new Operator(() => edge.url, secret)
  expect((await operator.put(DEFINITIONS)).status).toBe(202)
  await operator.serves(2)
  const at = CASES.findIndex(({ type }) => type === 'timestamptz')
  for (const query of [ofOurs, ofSdk])
    await until('the other values', async () => (await valueOf(query, `c${at}`)) !== mine[at]?.value)
  const others: string[][] = []
  for (const [i, { type, value }] of CASES.entries()) {
    const [name = '', now] = [names[i], await valueOf(ofOurs, names[i] ?? '')]
    if (now !== mine[i]?.value) others.push([type, `\`${value}\``, code(now)])
    expect(await valueOf(ofSdk, name)).toBe(now === mine[i]?.value ? theirs[i]?.value : now)
  }

  const text = await readFile(new URL('./types.md', import.meta.url), 'utf8')
  const tables = {
    'edition 3': table(['Postgres', 'for example', 'column', 'on the device', 'in an upload', 'into Postgres'], rows),
    'edition 1': table(['Postgres', 'for example', 'on the device'], others),
  }
  const written = Object.entries(tables).reduce(
    (page, [name, lines]) =>
      page.replace(
        new RegExp(`(<!-- table of ${name} -->\n\n)[^]*?(<!-- end -->)`),
        (_, head, end) => `${head}${lines}\n${end}`,
      ),
    text,
  )
  await expect(written).toMatchFileSnapshot('./types.md')
})
