import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { expect, test } from 'vitest'

/**
 * What the files of a folder may import beside those of their own: names of this table. A folder or file that is not
 * listed belongs to the nearest one around it that is. An arrow points to a row above. Only the rooms of the replicator
 * still import each other both ways.
 */
const FOLDERS: readonly [name: string, path: string, imports: string][] = [
  ['protocol', 'protocol', ''],
  // The port of sources, its kinds, and the only list of them.
  ['source', 'sources', 'protocol'],
  ['memory', 'sources/memory', 'protocol source'],
  ['postgres', 'sources/postgres', 'protocol source'],
  ['registry', 'sources/registry.ts', 'protocol source postgres'],
  ['sync-config', 'sync-config', 'protocol'],

  // What an object keeps and a setting says: the preset is declared where it is kept.
  ['bucket/limits', 'durable-objects/bucket/limits.ts', ''],
  ['relay/users', 'durable-objects/relay/users.ts', ''],
  ['replicator/limits', 'durable-objects/replicator/limits.ts', ''],
  ['placement', 'durable-objects/shared/placement.ts', 'protocol'],
  ['retry', 'durable-objects/shared/retry.ts', 'protocol'],
  ['bounded-map', 'durable-objects/shared/bounded-map.ts', ''],
  ['direct-request', 'durable-objects/bucket/direct-request.ts', 'protocol'],
  // Tenants, and what each has: its settings.
  ['tenants', 'tenants', 'protocol sync-config bucket/limits relay/users replicator/limits placement retry'],
  // Bindings.
  ['settings', 'durable-objects', 'protocol tenants'],
  ['shared', 'durable-objects/shared', 'protocol tenants settings placement'],

  ['census', 'durable-objects/census', 'protocol settings shared retry'],
  ['directory', 'durable-objects/directory', 'protocol tenants settings shared placement retry census'],
  // Classes of later versions.
  ['later', 'durable-objects/later', 'protocol'],
  // Objects know of each other what `protocol/messages` says.
  ['bucket', 'durable-objects/bucket', 'protocol tenants settings shared retry bucket/limits direct-request'],
  ['relay', 'durable-objects/relay', 'protocol tenants settings shared retry relay/users census'],
  ['store', 'durable-objects/replicator/store', 'protocol source sync-config shared copy ingest session verify writes'],
  ['writes', 'durable-objects/replicator/writes', 'protocol sync-config ingest store'],
  [
    'ingest',
    'durable-objects/replicator/ingest',
    'protocol source sync-config shared replicator/limits copy session store writes',
  ],
  ['copy', 'durable-objects/replicator/copy', 'protocol source shared replicator/limits ingest store'],
  [
    'commit',
    'durable-objects/replicator/commit',
    'protocol settings shared retry replicator/limits ingest store verify',
  ],
  ['tidy', 'durable-objects/replicator/tidy', 'protocol shared ingest store writes'],
  ['verify', 'durable-objects/replicator/verify', 'protocol shared copy ingest store writes'],
  ['deploy', 'durable-objects/replicator/deploy', 'protocol source sync-config tenants shared store'],
  [
    'session',
    'durable-objects/replicator/session',
    'protocol source sync-config tenants shared commit copy deploy ingest store tidy verify writes',
  ],
  // The object, and what wires its rooms.
  [
    'replicator',
    'durable-objects/replicator',
    'protocol source registry settings tenants shared retry commit deploy ingest session store tidy verify writes',
  ],

  ['json-bounds', 'workers/json-bounds.ts', ''],
  // What tenants may have of an isolate that they share.
  ['shares', 'workers/shares', 'tenants'],
  ['auth', 'workers/auth', 'protocol tenants settings json-bounds shares'],
  // The port of transports, and what is held for the client of one.
  ['stream/limits', 'workers/stream/limits.ts', ''],
  ['held', 'workers/stream/held.ts', 'stream/limits shares'],
  ['transport', 'workers/transports/transport.ts', 'protocol held'],
  [
    'stream',
    'workers/stream',
    'protocol sync-config tenants settings shared retry json-bounds shares auth stream/limits held transport',
  ],
  ['answers', 'workers/errors.ts', 'protocol'],
  ['calls', 'workers/replicator.ts', 'protocol settings shared retry'],
  ['briefly', 'workers/briefly.ts', ''],
  ['rates', 'workers/rates.ts', 'protocol tenants settings auth retry bounded-map'],
  ['tenant', 'workers/tenant.ts', 'protocol tenants settings rates'],
  [
    'transports',
    'workers/transports',
    'protocol tenants settings shared answers rates auth stream stream/limits held transport',
  ],
  [
    'routes',
    'workers/routes',
    'protocol sync-config tenants tenant settings held shared rates direct-request json-bounds auth stream placement retry census calls briefly',
  ],
  [
    'workers',
    'workers',
    'protocol tenant settings bucket census directory later relay replicator answers calls rates auth stream transports routes',
  ],

  ['client', 'client', 'protocol'],
  ['cli', 'cli', 'protocol postgres sync-config tenants auth retry'],
]

const ROOT = new URL('..', import.meta.url).pathname
const IMPORT = /(?:^|\n)(?:import|export)\s[^'"\n;]*?(?:\{[^}]*\}\s*)?from\s+'(\.[^']+)'/g

const files = ['protocol', 'sources', 'sync-config', 'tenants', 'durable-objects', 'workers', 'client', 'cli'].flatMap(
  (folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
      .map((file) => join(folder, file))
      .filter((file) => file.endsWith('.ts') && !/test|node_modules|dist\//.test(file)),
)
const imports = new Map(
  files.map((file) => {
    const all = [...readFileSync(join(ROOT, file), 'utf8').matchAll(IMPORT)].map(([, path = '']) =>
      normalize(join(dirname(file), path)),
    )
    return [file, all.filter((to) => to.endsWith('.ts'))]
  }),
)
/** The innermost entry of the table that a file belongs to. */
const folderOf = (file: string) =>
  FOLDERS.filter(([, path]) => file === path || file.startsWith(`${path}/`)).sort(
    ([, a], [, b]) => b.length - a.length,
  )[0]
const mayImport = (from: string, to: string): boolean => {
  const [name = '', , imports = ''] = folderOf(from) ?? []
  const [target = ''] = folderOf(to) ?? []
  return name === target || imports.split(' ').includes(target)
}

test('folders import what the table allows them', () => {
  const wrong = [...imports].flatMap(([file, all]) =>
    all.filter((to) => !mayImport(file, to)).map((to) => `${file} → ${to}`),
  )
  expect(imports.size).toBeGreaterThan(300)
  expect(wrong).toEqual([])
})

test('the table allows no arrow that nothing needs', () => {
  const needed = new Set(
    [...imports].flatMap(([file, all]) => all.map((to) => `${folderOf(file)?.[0]} → ${folderOf(to)?.[0]}`)),
  )
  const allowed = FOLDERS.flatMap(([name, , imports]) =>
    imports.split(' ').flatMap((to) => (to === '' ? [] : `${name} → ${to}`)),
  )
  expect(allowed.filter((arrow) => !needed.has(arrow))).toEqual([])
})

test('arrows point up in the table, but for those between the rooms of the replicator', () => {
  const above = new Set<string>()
  const isRoom = (name: string) =>
    FOLDERS.some(([each, path]) => each === name && path.startsWith('durable-objects/replicator'))
  const wrong = FOLDERS.flatMap(([name, , imports]) => {
    const down = imports.split(' ').filter((to) => to !== '' && !above.has(to) && !(isRoom(name) && isRoom(to)))
    above.add(name)
    return down.map((to) => `${name} → ${to}`)
  })
  expect(wrong).toEqual([])
})

/** Folders that may know Postgres, `sources/postgres` and `sources/registry.ts` beside them. */
const KNOW_POSTGRES = /^(sources\/postgres\/|sources\/registry\.ts|cli\/)/
/** What is Postgres's alone. Of the status document some members are, since there was no other kind. */
const OF_POSTGRES = /\b(lsn|xid|walStatus|filenode|publication|pgoutput)\b/g
const COMPATIBLE = [
  'durable-objects/replicator/status.ts lsn',
  'protocol/messages/status.ts walStatus',
  'protocol/messages/status.ts lsn',
]

test('Postgres and its driver are imported by its kind, the list of kinds and commands only', () => {
  const others = files.filter((file) => !KNOW_POSTGRES.test(file))
  const wrong = others.flatMap((file) => {
    const ofDriver = /from 'postgres'/.test(readFileSync(join(ROOT, file), 'utf8')) ? ['postgres'] : []
    return [...ofDriver, ...(imports.get(file) ?? []).filter((to) => to.startsWith('sources/postgres/'))].map(
      (to) => `${file} → ${to}`,
    )
  })
  expect(wrong).toEqual([])
})

test('what is Postgres’s alone has no name in objects and their messages, comments aside', () => {
  const found = files
    .filter((file) => file.startsWith('durable-objects/') || file.startsWith('protocol/messages/'))
    .flatMap((file) => {
      const code = readFileSync(join(ROOT, file), 'utf8').replace(/\/\*[^]*?\*\/|\/\/.*/g, '')
      return [...new Set([...code.matchAll(OF_POSTGRES)].map(([name]) => name))].map((name) => `${file} ${name}`)
    })
  expect(found.sort()).toEqual(COMPATIBLE.sort())
})

test('no files import each other in a circle', () => {
  expect(circles()).toEqual([])
})

/** Strongly connected files, after Tarjan. */
function circles(): string[][] {
  const order = new Map<string, number>()
  const low = new Map<string, number>()
  const stack: string[] = []
  const found: string[][] = []
  const visit = (file: string): number => {
    const number = order.size
    order.set(file, number)
    let lowest = number
    stack.push(file)
    for (const to of imports.get(file) ?? []) {
      if (!imports.has(to)) continue
      if (!order.has(to)) lowest = Math.min(lowest, visit(to))
      else if (stack.includes(to)) lowest = Math.min(lowest, low.get(to) ?? order.get(to) ?? lowest)
    }
    low.set(file, lowest)
    if (lowest === number) {
      const circle = stack.splice(stack.indexOf(file))
      if (circle.length > 1) found.push(circle.sort())
    }
    return lowest
  }
  for (const file of files) if (!order.has(file)) visit(file)
  return found
}
