import { spawnSync } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startPostgres, type TestPostgres } from '../test/support/postgres.ts'
import { ROOT } from './bundle.ts'
import { types } from './types.ts'

let directory: string
let postgres: TestPostgres

beforeAll(async () => {
  // Inside of the repository, where `@rockpool/client` is found.
  await mkdir(join(ROOT, '.rockpool'), { recursive: true })
  directory = await mkdtemp(join(ROOT, '.rockpool', 'types-'))
  process.env.DATA = join(directory, 'data')
  postgres = await startPostgres()
  await postgres.sql().unsafe(`
    CREATE TYPE mood AS ENUM ('happy', 'sad');
    CREATE DOMAIN positive AS integer CHECK (value > 0);
    CREATE DOMAIN strict_text AS text NOT NULL;
    CREATE TABLE lists (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name text NOT NULL, owner_id text NOT NULL);
    CREATE TABLE todos (
      id bigint PRIMARY KEY, list_id uuid NOT NULL REFERENCES lists, title varchar(80) NOT NULL DEFAULT 'It''s new',
      done boolean NOT NULL DEFAULT false, due timestamptz, created timestamp NOT NULL DEFAULT now(),
      size positive NOT NULL DEFAULT 1, owed numeric(10, 2) NOT NULL DEFAULT 0, weight double precision DEFAULT 1.5,
      views bigint NOT NULL DEFAULT 0, feels mood NOT NULL DEFAULT 'happy', labels text[] NOT NULL DEFAULT '{}',
      extra jsonb NOT NULL DEFAULT '{"a": 1}', span int4range, picture bytea, day date, said strict_text DEFAULT 'x',
      "odd name" text, twice integer GENERATED ALWAYS AS (2) STORED NOT NULL, _hidden text);
    CREATE TABLE archived (id text PRIMARY KEY, title text, done integer NOT NULL, list_id text NOT NULL);`)
})
afterAll(async () => {
  await postgres?.stop()
  await rm(directory, { recursive: true, force: true })
})

async function written(queries: string[]): Promise<string> {
  const file = join(directory, 'config.yaml')
  const data = queries.map((query) => `      - ${query}\n`).join('')
  await writeFile(file, `bucket_definitions:\n  all:\n    data:\n${data}`)
  const { output, ok } = await types([file, '--database-url', postgres.url], false)
  expect(ok).toBe(true)
  return output.replaceAll(`${directory}/`, '')
}

test('each column has the type of its values, what may be NULL is nullable, and defaults are those of Postgres', async () => {
  expect(await written(['SELECT * FROM todos', 'SELECT id, name, owner_id AS owner FROM lists']))
    .toMatchInlineSnapshot(`
      "// Written by \`rockpool types config.yaml\`. Write it again when the sync config or the database changes.
      import { bigint, boolean, defineSchema, integer, json, real, table, text, timestamp, type DatabaseOf } from '@rockpool/client/schema'

      export const schema = defineSchema({
        todos: table({
          list_id: text(),
          title: text().default('It\\'s new'),
          done: boolean().default(false),
          due: timestamp().nullable(),
          created: timestamp().default(() => new Date().toISOString()),
          size: integer().default(1),
          owed: text().default('0'),
          weight: real().nullable().default(1.5),
          views: bigint().default(0n),
          feels: text().default('happy'),
          labels: json().default(() => []),
          extra: json().default(() => ({"a":1})),
          span: json().nullable(),
          day: text().nullable(),
          said: text().default('x'),
          // 'odd name' cannot be the name of a column on a device: name it with AS in the sync config.
          twice: integer().nullable(), // Postgres computes it
        }),
        lists: table({
          name: text(),
          owner: text(),
        }),
      })

      /** Rows by their tables: \`Rows['todos']\`. */
      export type Rows = DatabaseOf<typeof schema>"
    `)
})

test('a table of several queries has the columns of all; an expression and two kinds are said', async () => {
  expect(
    await written([
      'SELECT id, title, done FROM todos',
      "SELECT id, upper(title) AS title, done, 1 AS old, 'x' AS kind FROM archived",
      'SELECT id, title FROM archived',
    ]),
  ).toMatchInlineSnapshot(`
    "// Written by \`rockpool types config.yaml\`. Write it again when the sync config or the database changes.
    import { boolean, defineSchema, integer, table, text, type DatabaseOf } from '@rockpool/client/schema'

    export const schema = defineSchema({
      todos: table({
        title: text().default('It\\'s new'),
        done: boolean().default(false),
      }),
      archived: table({
        title: text().nullable(), // an expression: say what it is
        done: integer().nullable(),
        old: integer().nullable(),
        kind: text().nullable(),
      }),
    })

    /** Rows by their tables: \`Rows['todos']\`. */
    export type Rows = DatabaseOf<typeof schema>"
  `)
  expect(await written(['SELECT id, title, done FROM todos', 'SELECT id, title, done, list_id FROM archived AS todos']))
    .toMatchInlineSnapshot(`
    "// Written by \`rockpool types config.yaml\`. Write it again when the sync config or the database changes.
    import { defineSchema, table, text, type DatabaseOf } from '@rockpool/client/schema'

    export const schema = defineSchema({
      todos: table({
        title: text().nullable(),
        done: text(), // boolean in one query, integer in another
        list_id: text().nullable(),
      }),
    })

    /** Rows by their tables: \`Rows['todos']\`. */
    export type Rows = DatabaseOf<typeof schema>"
  `)
})

test('what it writes compiles, and is a schema that a database can be opened with', async () => {
  const out = join(directory, 'schema.ts')
  const config = join(directory, 'config.yaml')
  await writeFile(config, 'bucket_definitions:\n  all:\n    data:\n      - SELECT * FROM todos\n')
  const { output } = await types([config, '--database-url', postgres.url, '--out', out], false)
  expect(output).toBe(`${out}: 1 table`)
  await writeFile(
    join(directory, 'app.ts'),
    `import { createRockpool } from '@rockpool/client/node'
     import { schema, type Rows } from './schema.ts'
     const db = createRockpool({ schema, name: '${directory}/db', url: 'http://127.0.0.1:1', token: () => '', connect: false })
     const { value: id } = await db.todos.insert({ list_id: 'l', said: 's' })
     const todo: Rows['todos'] | null = await db.todos.get(id)
     const views: bigint | undefined = todo?.views
     console.log(todo?.title, todo?.done, views, todo?.labels, todo?.due, todo?.weight, todo?.extra)
     await db.close()`,
  )
  const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc')
  const options = ['--noEmit', '--strict', '--module', 'nodenext', '--target', 'es2024', '--allowImportingTsExtensions']
  const lib = ['--lib', 'es2024,dom', '--types', 'node', '--skipLibCheck', '--verbatimModuleSyntax', '--ignoreConfig']
  const compiled = spawnSync(process.execPath, [tsc, ...options, ...lib, join(directory, 'app.ts')], {
    encoding: 'utf8',
  })
  expect(compiled.stdout).toBe('')
  const run = spawnSync(process.execPath, [join(directory, 'app.ts')], { encoding: 'utf8' })
  expect(run.stderr).toBe('')
  expect(run.stdout.trim()).toBe("It's new false 0n [] null 1.5 { a: 1 }")
})

test('what is wrong is said: no file, a broken one, a table that is not there, no database, a folder as the file', async () => {
  const file = join(directory, 'config.yaml')
  await expect(types([], false)).rejects.toThrow(/name one file: rockpool types/)
  await writeFile(file, 'bucket_definitions:\n  all:\n    data:\n      - SELECT FROM\n')
  expect(await types([file, '--database-url', postgres.url], false)).toMatchObject({ ok: false })
  await writeFile(file, 'bucket_definitions:\n  all:\n    data:\n      - SELECT * FROM nothing\n')
  await expect(types([file, '--database-url', postgres.url], false)).rejects.toThrow('no table public.nothing')
  await writeFile(file, 'bucket_definitions:\n  all:\n    data:\n      - SELECT * FROM lists\n')
  await expect(types([file], false)).rejects.toThrow(/name a database/)
  await expect(types([file, '--database-url', 'postgres://u:p@127.0.0.1:1/x'], false)).rejects.toThrow(/cannot be used/)
  await expect(types([file, '--database-url', postgres.url, '--out', directory], false)).rejects.toThrow(
    /cannot be written/,
  )
  expect(await readFile(file, 'utf8')).toContain('lists')
})
