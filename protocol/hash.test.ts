import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'

// Another text with the same `hash64` is found in a second (`test/attacks/collide.ts`).
const ROOT = new URL('..', import.meta.url).pathname
const FOLDERS = [
  'protocol',
  'durable-objects',
  'workers',
  'sync-config',
  'sources',
  'client/src',
  'cli',
  'examples',
  'bench',
]

/** Each with the reason why nobody gains by another text there. */
const HARMLESS: Record<string, string> = {
  'protocol/names.ts': 'hints for code of message version 1: a state is asked for by name, ops are not taken',
  'protocol/digest.ts': 'answers to a replicator of message version 1',
  'durable-objects/bucket/digest.ts': 'the same, and rows that an older version stored and nobody has read since',
  'durable-objects/replicator/ingest/outputs.ts': 'subkeys of rows that an older version has put into a bucket',
  'durable-objects/replicator/ingest/batch.ts':
    'subkeys of rows that an older version has put into buckets; rows that were only read again',
  'durable-objects/replicator/deploy/script-config.ts':
    'whether the config of the script is another one: its author deploys it anyway',
  'sync-config/plan/hash.ts': 'names of plans and definitions: two hashes of what an operator deploys',
}

test('hash64 decides nothing about access or content', () => {
  const users = FOLDERS.flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts') && !file.includes('node_modules'))
      .map((file) => join(folder, file))
      .filter((file) => file !== 'protocol/hash.ts' && readFileSync(join(ROOT, file), 'utf8').includes('hash64(')),
  )
  expect(users.sort()).toEqual(Object.keys(HARMLESS).sort())
})
