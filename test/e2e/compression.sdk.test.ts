import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { SCENARIOS } from '../scenarios/list.ts'
import { nodeKinds } from '../scenarios/node.ts'
import { Setting } from '../scenarios/setting.ts'
import { until } from '../support/support.ts'
import { Applied, HttpLines } from '../wire/lines.ts'

const ROWS = 4_000
const directory = mkdtempSync(join(tmpdir(), 'rockpool-clients-'))
let setting: Setting
let user: string

beforeAll(async () => {
  setting = await Setting.start({ STREAM_COMPRESSION: 'on', COMPACTION_BYTES: '2000', COMPACTION_SECONDS: '1' })
  user = setting.newUser()
  await setting.postgres.sql()`
    insert into notes select ${user} || '-' || n, ${user}, repeat(md5(n::text), 15) from generate_series(1, ${ROWS}::int) n`
  await until('the rows', async () => (await setting.status()).checkpoint >= ROWS)
})
afterEach(() => setting.closeClients())
afterAll(async () => {
  await setting?.end()
  rmSync(directory, { recursive: true, force: true })
})

const BSON = { accept: 'application/vnd.powersync.bson-stream' }
const CHROMIUM = { 'sec-ch-ua': '"Chromium";v="156"' }

async function firstSync(
  headers: Record<string, string>,
): Promise<{ lines: HttpLines; applied: Applied; bytes: number }> {
  const lines = await HttpLines.open(setting.edge.url, await setting.token(user), { raw_data: true }, headers)
  const applied = new Applied()
  for (const line of await lines.until('checkpoint_complete')) applied.add(line)
  return { lines, applied, bytes: lines.bytes }
}

describe.each([
  ['gzip', {}],
  ['gzip', BSON],
  ['zstd', CHROMIUM],
  ['zstd', { ...CHROMIUM, ...BSON }],
])('%s with %o', (encoding, form) => {
  test('a first sync has every row in a third of the bytes, and a change comes while nothing follows it', async () => {
    const plain = await firstSync({ 'accept-encoding': 'identity', ...form })
    plain.lines.close()
    const { lines, applied, bytes } = await firstSync({ 'accept-encoding': 'gzip, deflate, br, zstd', ...form })
    expect(lines.response.headers).toMatchObject({ 'content-encoding': encoding, vary: 'accept, accept-encoding' })
    expect(applied.size).toBeGreaterThan(ROWS)
    expect(applied.rows).toEqual(plain.applied.rows)
    expect(bytes).toBeLessThan(plain.bytes / 3)
    const id = `${user}-live-${encoding}-${Object.keys(form).join('-')}`
    await setting.postgres.sql()`insert into notes values (${id}, ${user}, ${'ä'.repeat(300)})`
    const live = await lines.until('checkpoint_complete')
    expect(JSON.stringify(live)).toContain(id)
    for (const line of live) applied.add(line)
    expect(applied.completes).toBe(2)
    lines.close()
  })
})

test('a client that accepts neither gets lines as they are', async () => {
  for (const accepted of ['identity', 'br', 'zstd']) {
    const lines = await HttpLines.open(
      setting.edge.url,
      await setting.token(user),
      { raw_data: true },
      { 'accept-encoding': accepted },
    )
    expect(lines.response.headers['content-encoding']).toBe('identity')
    expect((await lines.until('checkpoint_complete')).length).toBeGreaterThan(2)
    lines.close()
  }
})

test('a stream that ends cleanly is a whole body', async () => {
  const poor = await Setting.start({ STREAM_COMPRESSION: 'on', STREAM_MAX_BYTES: '100000' })
  try {
    const someone = poor.newUser()
    await poor.postgres.sql()`insert into notes select n::text, ${someone}, repeat('x', 500) from generate_series(1, ${ROWS}::int) n`
    await until('the rows', async () => (await poor.status()).checkpoint >= ROWS)
    for (const headers of [{ 'accept-encoding': 'gzip' }, { 'accept-encoding': 'zstd', ...CHROMIUM }]) {
      const lines = await HttpLines.open(poor.edge.url, await poor.token(someone), { raw_data: true }, headers)
      expect(lines.response.headers['content-encoding']).toBe(headers['accept-encoding'])
      await lines.until('data')
      let last: unknown = null
      while (typeof last !== 'string') last = await lines.next()
      expect(last).toBe('end')
    }
  } finally {
    await poor.end()
  }
})

// fetch of Node accepts gzip by itself. Over NDJSON, in a browser: test/browser/scenarios.browser.test.ts.
describe.each(nodeKinds(directory).filter(({ name }) => name.includes('BSON')))('$name', (kind) => {
  test.each(SCENARIOS)('$promise', ({ run }) => run(setting, kind))
})
