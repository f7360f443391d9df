import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { SCENARIOS } from '../scenarios/list.ts'
import { Setting } from '../scenarios/setting.ts'
import { webKinds } from '../scenarios/web.ts'

let setting: Setting
let web: Awaited<ReturnType<typeof webKinds>>

beforeAll(async () => {
  setting = await Setting.start({ STREAM_COMPRESSION: 'on', COMPACTION_BYTES: '2000', COMPACTION_SECONDS: '1' })
  web = await webKinds()
})
afterEach(() => setting.closeClients())
afterAll(async () => {
  await web?.end()
  await setting?.end()
})

describe.each([
  ['HTTP', 0],
  ['WebSocket', 1],
] as const)('@powersync/web over %s', (_, index) => {
  test.each(SCENARIOS)('$promise', async ({ run }) => {
    const kind = web.kinds[index]
    if (!kind) throw new Error('there is no such kind')
    await run(setting, kind)
  })
})

test('the page had nothing to complain about', () => {
  expect(web.complaints).toEqual([])
})
