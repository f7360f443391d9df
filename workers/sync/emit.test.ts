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
      read: async () => ({ kind: 'ops', body: Buffer.alloc(TEXT, 'x').toString('latin1'), count: 1, last: ++reads, more: true }),
      lines: { send: async () => {}, data: async () => {}, room: () => (reads === 0 ? Promise.resolve() : (waiting++, forever)) },
    } as unknown as StreamPorts
    return { view, emitter: new Emitter(ports, view, new Map()) }
  })
  const before = heap()
  const resolved = { buckets: [{ bucket: 'b[]', priority: 3, reasons: [] }], streams: [], writeCheckpoint: null } as unknown as Resolved
  const running = streams.map(({ emitter }) => emitter.emit(resolved, { waiting: 0 } as unknown as Upstream))
  while (waiting < STREAMS) await new Promise((resolve) => setImmediate(resolve))
  expect(heap() - before).toBeLessThan((STREAMS * TEXT) / 2)
  expect(running).toHaveLength(STREAMS)
})
