import { env, runInDurableObject } from 'cloudflare:test'
import { expect, test } from 'vitest'
import { bucketObjectName } from '../../../protocol/names.ts'
import { page, put } from '../../bucket/test-ops.ts'
import { Dispatcher } from './dispatcher.ts'
import { everyNameIsATenant } from '../../../test/support/tenant.ts'

everyNameIsATenant({})

const SENDING = { committed: () => 0, wanted: () => true, unanswered: () => {} }

// One row may be in a bucket with many outputs, and a call between objects takes 32 MiB: what is larger was refused,
// and tried again, for ever.
test('ops of one batch for one bucket that exceed one call are sent in several calls, also when they are repeated', async () => {
  const text = JSON.stringify({ x: `ш${'x'.repeat(1_500_000)}` })
  const { body, ...append } = page(1, ...Array.from({ length: 12 }, (_, n) => put(`r${n}`, text)))
  expect(body.length * 2).toBeGreaterThan(32 * 1024 * 1024)
  const failing: unknown[] = []
  await runInDurableObject(env.REPLICATOR.getByName('large-append'), async () => {
    const dispatcher = new Dispatcher({
      send: async (bucket, request) =>
        env.BUCKET.getByName(await bucketObjectName('large-append', bucket)).append(request),
      deadlineMs: 30_000,
      failed: (each) => failing.push(each),
    })
    const send = () => dispatcher.append('b', { bucket: 1, ...append, body: () => body, length: body.length }, SENDING)
    const state = { count: 12, checksum: append.checksum, last: 12 }
    expect(await send()).toEqual(state)
    expect(dispatcher.calls).toBe(3)
    expect(await send()).toEqual(state)
    expect(failing).toEqual([])
  })
}, 20_000)
