import { migrate } from '../shared/database.ts'
import { testDatabase } from '../test-database.ts'
import type { Append } from './ingest/batch.ts'
import { Outbox, type NewBatch, type StoredAppend } from './store/outbox.ts'
import { Pipeline } from './commit/pipeline.ts'
import { MIGRATIONS } from './store/storage.ts'

// What of a transaction stays in memory, in a process of its own whose heap has a limit: `node --expose-gc
// memory-run.ts slices|recovery`. Answers JSON. The rows of node:sqlite are not in that heap.

const decode = { n: 1, counter: 0, position: null, partial: null }

function append(first: number, texts: string[]): Append {
  return { first, last: first + texts.length - 1, count: texts.length, checksum: first, texts }
}

/** Bytes that are reachable. */
function reachable(): number {
  globalThis.gc?.()
  globalThis.gc?.()
  return process.memoryUsage().heapUsed + process.memoryUsage().arrayBuffers
}

function world() {
  const db = testDatabase()
  migrate(db, MIGRATIONS)
  const sent: StoredAppend[] = []
  const open = (dropped: number) => {
    const outbox = new Outbox(db, dropped)
    const pipeline = new Pipeline({
      send: (each) => void sent.push(each),
      name: (bucket) => `bucket ${bucket}`,
      skips: () => false,
      read: (id) => outbox.read(id),
    })
    return { outbox, pipeline }
  }
  /** Buckets take what comes, and answer. */
  const answer = (pipeline: Pipeline): number => {
    let answered = 0
    for (let each = sent.shift(); each; each = sent.shift()) {
      if (each.body().length !== each.length) throw new Error('a body is not what was stored')
      pipeline.answered(each.bucket, { count: 1, checksum: 1, last: each.last })
      answered++
    }
    return answered
  }
  return { open, answer }
}

/**
 * Slices of 8,000 rows of one bucket, each answered before the next one comes: the reachable heap after some of them.
 */
function slices(): unknown {
  const { open, answer } = world()
  const { outbox, pipeline } = open(0)
  const heap: number[] = []
  for (let slice = 1, last = 0; slice <= 100; slice++) {
    const texts = Array.from({ length: 8_000 }, (_, i) => `${last + i} ${'x'.repeat(200)}`)
    const batch: NewBatch = {
      last: last + 8_000,
      final: false,
      plan: null,
      decode,
      appends: new Map([[1, append(last + 1, texts)]]),
    }
    pipeline.dispatch(outbox.add(batch))
    answer(pipeline)
    last += 8_000
    if (slice % 10 === 0) heap.push(reachable())
  }
  return { heap }
}

/**
 * A crash in the middle of a transaction of `SLICES` × `BUCKETS` pairs: what a new object sends, and the most that it
 * reaches meanwhile.
 */
function recovery(): unknown {
  const [SLICES, BUCKETS] = [250, 4_000]
  const { open, answer } = world()
  const first = open(0)
  let last = 0
  for (let slice = 1; slice <= SLICES; slice++) {
    const appends = new Map(Array.from({ length: BUCKETS }, (_, i) => [i + 1, append(++last, ['x'.repeat(100)])]))
    first.outbox.add({ last, final: slice === SLICES, plan: null, decode, appends })
  }
  const before = reachable()
  const { outbox, pipeline } = open(0)
  const newest = outbox.newest()
  if (!newest) throw new Error('nothing is stored')
  pipeline.recover(0, newest, newest.answered)
  const started = reachable() - before
  const answered = answer(pipeline)
  const commit = pipeline.commit(0)
  if (commit) outbox.drop(commit.upTo)
  return {
    started,
    answered,
    after: reachable() - before,
    checkpoint: commit?.checkpoint,
    told: commit?.buckets?.length ?? null,
  }
}

console.log(JSON.stringify(process.argv[2] === 'recovery' ? recovery() : slices()))
