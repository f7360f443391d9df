import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { mkdtempSync, rmSync } from 'node:fs'
import { afterAll, afterEach, beforeAll, describe, test } from 'vitest'
import { SCENARIOS } from '../scenarios/list.ts'
import { nodeKinds } from '../scenarios/node.ts'
import { Setting } from '../scenarios/setting.ts'

const directory = mkdtempSync(join(tmpdir(), 'rockpool-clients-'))
let setting: Setting

beforeAll(async () => {
  setting = await Setting.start({ COMPACTION_BYTES: '2000', COMPACTION_SECONDS: '1' })
})
afterEach(() => setting.closeClients())
afterAll(async () => {
  await setting?.end()
  rmSync(directory, { recursive: true, force: true })
})

describe.each(nodeKinds(directory))('$name', (kind) => {
  test.each(SCENARIOS)('$promise', ({ run }) => run(setting, kind))
})
