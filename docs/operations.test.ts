import { readdir, readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { SETTINGS } from '../tenants/declarations.ts'

const text = (path: string): Promise<string> => readFile(new URL(path, import.meta.url), 'utf8')
const found = (content: string, pattern: RegExp) => [...content.matchAll(pattern)].map((match) => match[1]).sort()

test('every problem that may be told is described, and no other', async () => {
  const declared = found(await text('../protocol/diagnostics.ts'), /\| '([A-Z0-9_]+)'/g)
  expect(declared.length).toBeGreaterThan(8)
  expect(found(await text('./operations.md'), /^\| `(ROCKPOOL_[A-Z0-9_]+)`/gm)).toEqual(declared)
})

test('every setting is described, beside the list of them', async () => {
  const declared = Object.keys(SETTINGS)
  expect(declared).toContain('WAL_KEEP_GB')
  const files = (await readdir(new URL('.', import.meta.url))).filter(
    (name) => name.endsWith('.md') && name !== 'settings.md',
  )
  const documents = (await Promise.all(files.map(text))).join('\n')
  expect(declared.filter((name) => !new RegExp(`\\b${name}\\b`).test(documents))).toEqual([])
})

test('fields and codes that the page of maintenance names are there', async () => {
  const page = await text('./maintenance.md')
  const sources = await Promise.all(
    ['messages/status', 'messages/admin', 'messages/replicator', 'diagnostics', 'verification', 'errors'].map((name) =>
      text(`../protocol/${name}.ts`),
    ),
  )
  const declared = [...sources, await text('../workers/app.ts')].join('\n')
  const fields = found(page, /^\| `([a-z][\w.]*)` \|/gim).filter((name) => !/^[A-Z_]+$/.test(name ?? ''))
  expect(fields).toContain('slot.safeWalBytes')
  const members = fields.flatMap((field) => field?.split('.') ?? [])
  expect(members.filter((name) => !new RegExp(`\\b${name}\\??:`).test(declared))).toEqual([])
  const codes = found(page, /\b(ROCKPOOL_(?!LOG)[A-Z_]+)\b/g)
  expect(codes.length).toBeGreaterThan(5)
  expect(codes.filter((code) => !declared.includes(`'${code}'`))).toEqual([])
})
