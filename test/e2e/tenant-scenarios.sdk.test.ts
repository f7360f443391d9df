import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { mkdtempSync, rmSync } from 'node:fs'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { SCENARIOS } from '../scenarios/list.ts'
import { nodeKinds } from '../scenarios/node.ts'
import { Setting } from '../scenarios/setting.ts'
import { TenantEdge } from '../support/tenant-edge.ts'

// The official SDK, unmodified, connects to https://host/t/NAME. One kind of it runs all scenarios; the others run them
// on a deployment with one tenant.

const directory = mkdtempSync(join(tmpdir(), 'rockpool-clients-'))
const [kind] = nodeKinds(directory)
let setting: Setting

beforeAll(async () => {
  setting = await Setting.start({ COMPACTION_BYTES: '2000', COMPACTION_SECONDS: '1' }, async (settings) => {
    const { bindings } = settings
    const edge = await TenantEdge.start({ directory: settings.directory, ...(bindings && { bindings }) })
    return edge.serve('acme', settings)
  })
})
afterEach(() => setting.closeClients())
afterAll(async () => {
  await setting?.end()
  rmSync(directory, { recursive: true, force: true })
})

test.each(SCENARIOS)('$promise', async ({ run }) => {
  if (!kind) throw new Error('there is no SDK')
  expect(setting.edge.url).toMatch(/\/t\/acme$/)
  await run(setting, kind)
})
