import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import { Emitter } from './emit.ts'
import type { StreamPorts, Upstream } from './ports.ts'
import type { Resolved } from './resolve.ts'
import { View } from './view.ts'

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc') as () => void

/** Longer texts are outside of the heap of Node, which is what is measured. */
const TEXT = 500_000
const STREAMS = 50

test('a stream that waits for room keeps nothing of what it has read and written', async () => {
  const heap = () => {
    gc()
    return process.memoryUsage().heapUsed
  }
  let waiting = 0
  const forever = new Promise<void>(() => {})
  const streams = Array.from({ length: STREAMS }, () => {
    const view = new View()
    view.checkpoint = 9
    view.subscribe('b[]')
    view.states.set('b[]', { count: 9, checksum: 1, last: 9 })
    let reads = 0
    const ports = {
      // One text, not a rope of a short one.
      read: async () => ({
        kind: 'ops',
        body: Buffer.alloc(TEXT, 'x').toString('latin1'),
        count: 1,
        last: ++reads,
        more: true,
      }),
      lines: {
        send: async () => {},
        data: async () => {},
        room: () => (reads === 0 ? Promise.resolve() : (waiting++, forever)),
      },
    } as unknown as StreamPorts
    return { view, emitter: new Emitter(ports, view, new Map()) }
  })
  const before = heap()
  const resolved = {
    buckets: [{ bucket: 'b[]', priority: 3, reasons: [] }],
    streams: [],
    writeCheckpoint: null,
  } as unknown as Resolved
  const running = streams.map(({ emitter }) => emitter.emit(resolved, { waiting: 0 } as unknown as Upstream))
  while (waiting < STREAMS) await new Promise((resolve) => setImmediate(resolve))
  expect(heap() - before).toBeLessThan((STREAMS * TEXT) / 2)
  expect(running).toHaveLength(STREAMS)
})

test('a bucket that was erased since the relay heard of it is read once, not at each checkpoint', async () => {
  const view = new View()
  for (const bucket of ['erased[]', 'live[]']) view.subscribe(bucket)
  const reads: string[] = []
  const ports = {
    read: async (bucket: string) => {
      reads.push(bucket)
      return { kind: 'ops', body: '', count: bucket === 'live[]' ? 1 : 0, last: view.checkpoint, more: false }
    },
    lines: { send: async () => {}, data: async () => {}, room: async () => {} },
  } as unknown as StreamPorts
  const emitter = new Emitter(ports, view, new Map())
  const buckets = ['erased[]', 'live[]'].map((bucket) => ({ bucket, priority: 3, reasons: [] }))
  const resolved = { buckets, streams: [], writeCheckpoint: null } as unknown as Resolved
  view.states.set('erased[]', { count: 3, checksum: 0, last: 5 })
  for (view.checkpoint = 10; view.checkpoint < 13; view.checkpoint++) {
    view.states.set('live[]', { count: view.checkpoint, checksum: view.checkpoint, last: view.checkpoint })
    await emitter.emit(resolved, { waiting: 0 } as unknown as Upstream)
  }
  expect(reads).toEqual(['erased[]', 'live[]', 'live[]', 'live[]'])
})
