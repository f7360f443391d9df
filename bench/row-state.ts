import { randomBytes, randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync, type StatementSync } from 'node:sqlite'

// The file is long because both forms and what measures them are compared line by line.
//
// Measures what row state costs with random keys: in the table of today, and in sorted runs, which are not built. It
// prints processor time for a row, as the number of rows grows. `node bench/row-state.ts table|runs ROWS [ascending]`
//
// Runs: a slice of a copy is sorted and stored as blocks of 8 KB. Small batches stay in memory, with a row of a log
// each, until there are 40,000 rows of them. Eight runs of one size are merged into one of the next. Of each run memory
// has the first key of every block and a filter.

/** Its outputs, as far as this bench knows them. */
type State = readonly [bucket: number, hash: string]
interface RowStates {
  get(keys: readonly string[]): Map<string, State>
  store(rows: ReadonlyMap<string, State>): void
  figures(): Record<string, number | string>
}

const SLICE = 8_000
const STATEMENT_ROWS = 4_000
const BLOCK_BYTES = 8_192
const RUNS_MERGED = 8
const ROWS_IN_MEMORY = 40_000
const FILTER_BITS = 10
const FILTER_HASHES = 6
const HASH_DIGITS = 22
const MARKS = [100_000, 300_000, 1_000_000, 3_000_000, 10_000_000]

const [kind = 'runs', total = '1000000', order = 'random'] = process.argv.slice(2)
const directory = mkdtempSync(join(tmpdir(), 'rockpool-row-state-'))
const db = new DatabaseSync(join(directory, 'rows.db'))
db.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -8192')

class Table implements RowStates {
  readonly #get: StatementSync
  readonly #put: StatementSync

  constructor() {
    db.exec('CREATE TABLE rows (t INTEGER, key TEXT, outputs TEXT, image TEXT, PRIMARY KEY (t, key)) WITHOUT ROWID')
    this.#get = db.prepare('SELECT key, outputs FROM rows WHERE t = 1 AND key IN (SELECT value FROM json_each(?))')
    this.#put = db.prepare(
      `INSERT INTO rows SELECT 1, key, value, NULL FROM json_each(?) WHERE true
       ON CONFLICT (t, key) DO UPDATE SET outputs = excluded.outputs`,
    )
  }

  get(keys: readonly string[]): Map<string, State> {
    const found = new Map<string, State>()
    for (const list of portions(keys))
      for (const { key, outputs } of this.#get.all(JSON.stringify(list)))
        found.set(String(key), (JSON.parse(String(outputs)) as [State])[0])
    return found
  }

  store(rows: ReadonlyMap<string, State>): void {
    const texts = [...rows].map(([key, [bucket, hash]]) => `${JSON.stringify(key)}:[[${bucket},"${hash}"]]`)
    db.exec('BEGIN')
    for (const list of portions(texts)) this.#put.run(`{${list.join(',')}}`)
    db.exec('COMMIT')
  }

  figures = () => ({})
}

interface Run {
  blocks: { first: string; id: number }[]
  filter: Filter
  rows: number
}

class Runs implements RowStates {
  readonly #block: StatementSync
  readonly #putBlock: StatementSync
  readonly #dropBlock: StatementSync
  readonly #log: StatementSync
  readonly #levels: Run[][] = [[]]
  #memory = new Map<string, State>()
  #slot = 0
  #blocks = 0
  #longestMerge = 0

  constructor() {
    db.exec(
      'CREATE TABLE blocks (id INTEGER PRIMARY KEY, body BLOB); CREATE TABLE log (slot INTEGER PRIMARY KEY, body TEXT)',
    )
    this.#block = db.prepare('SELECT body FROM blocks WHERE id = ?')
    this.#putBlock = db.prepare('INSERT INTO blocks VALUES (?, ?)')
    this.#dropBlock = db.prepare('DELETE FROM blocks WHERE id = ?')
    this.#log = db.prepare('INSERT INTO log VALUES (?, ?) ON CONFLICT (slot) DO UPDATE SET body = excluded.body')
  }

  get(keys: readonly string[]): Map<string, State> {
    const found = new Map<string, State>()
    let left = keys.flatMap((key) => {
      const state = this.#memory.get(key)
      if (state) found.set(key, state)
      return state ? [] : [{ key, hashes: hashesOf(key) }]
    })
    for (const level of this.#levels)
      for (const run of level.toReversed()) {
        if (left.length === 0) return found
        left = left.filter(({ key, hashes }) => {
          const state = run.filter.has(hashes) ? this.#lookUp(run, key) : null
          if (state) found.set(key, state)
          return !state
        })
      }
    return found
  }

  #lookUp({ blocks }: Run, key: string): State | null {
    let [low, high] = [0, blocks.length - 1]
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if ((blocks[middle]?.first ?? '') <= key) low = middle
      else high = middle - 1
    }
    const body = this.#body(blocks[low]?.id ?? 0)
    const at = body.indexOf(key, 0, 'latin1')
    return at < 0 ? null : stateAt(body, at + key.length)
  }

  store(rows: ReadonlyMap<string, State>): void {
    db.exec('BEGIN')
    if (rows.size >= SLICE / 2) this.#levels[0]?.push(this.#written(sorted(rows), rows.size))
    else {
      this.#log.run(this.#slot++, JSON.stringify([...rows]))
      for (const [key, state] of rows) this.#memory.set(key, state)
      if (this.#memory.size >= ROWS_IN_MEMORY) {
        this.#levels[0]?.push(this.#written(sorted(this.#memory), this.#memory.size))
        this.#memory = new Map()
        this.#slot = 0
      }
    }
    db.exec('COMMIT')
    for (let level = 0; level < this.#levels.length; level++)
      if ((this.#levels[level]?.length ?? 0) >= RUNS_MERGED) this.#merge(level)
  }

  #written(rows: Iterable<readonly [string, State]>, count: number): Run {
    const run: Run = { blocks: [], filter: new Filter(count), rows: 0 }
    const buffer = Buffer.allocUnsafe(BLOCK_BYTES + 1_024)
    let [at, first] = [0, '']
    const flush = () => {
      if (at === 0) return
      this.#putBlock.run(++this.#blocks, buffer.subarray(0, at))
      run.blocks.push({ first, id: this.#blocks })
      at = 0
    }
    for (const [key, [bucket, hash]] of rows) {
      if (at === 0) first = key
      buffer[at++] = key.length
      at += buffer.write(key, at, 'latin1')
      at = buffer.writeUInt32LE(bucket, at)
      at += buffer.write(hash, at, 'latin1')
      run.filter.add(hashesOf(key))
      run.rows++
      if (at >= BLOCK_BYTES) flush()
    }
    flush()
    return run
  }

  /** In one go; a real one would take steps. */
  #merge(level: number): void {
    const start = cpu()
    const runs = this.#levels[level] ?? []
    db.exec('BEGIN')
    const merged = this.#written(
      newestOfEach(runs.map((run) => this.#rowsOf(run))),
      runs.reduce((sum, { rows }) => sum + rows, 0),
    )
    for (const { blocks } of runs) for (const { id } of blocks) this.#dropBlock.run(id)
    db.exec('COMMIT')
    this.#levels[level] = []
    ;(this.#levels[level + 1] ??= []).push(merged)
    this.#longestMerge = Math.max(this.#longestMerge, cpu() - start)
  }

  *#rowsOf({ blocks }: Run): Generator<readonly [string, State]> {
    for (const { id } of blocks) {
      const body = this.#body(id)
      for (let at = 0; at < body.length;) {
        const length = body[at++] ?? 0
        yield [body.toString('latin1', at, at + length), stateAt(body, at + length)]
        at += length + 4 + HASH_DIGITS
      }
    }
  }

  #body(id: number): Buffer {
    return Buffer.from((this.#block.get(id)?.body as Uint8Array).buffer)
  }

  figures = () => ({
    'blocks written': this.#blocks,
    'runs by level': this.#levels.map(({ length }) => length).join(' '),
    'longest merge, ms': Math.round(this.#longestMerge / 1_000),
  })
}

const stateAt = (body: Buffer, at: number): State => [
  body.readUInt32LE(at),
  body.toString('latin1', at + 4, at + 4 + HASH_DIGITS),
]

const sorted = (rows: ReadonlyMap<string, State>) => [...rows].sort(([a], [b]) => (a < b ? -1 : 1))

/** The rows of all runs by key; of equal keys that of the last run. */
function* newestOfEach(runs: Iterator<readonly [string, State]>[]): Generator<readonly [string, State]> {
  const heads = runs.map((run) => run.next().value)
  for (;;) {
    let best = -1
    for (const [i, head] of heads.entries()) {
      const least = heads[best]
      if (head && (!least || head[0] <= least[0])) best = i
    }
    const row = heads[best]
    if (!row) return
    for (const [i, head] of heads.entries()) if (head?.[0] === row[0]) heads[i] = runs[i]?.next().value
    yield row
  }
}

type Hashes = readonly [number, number]
function hashesOf(key: string): Hashes {
  let [a, b] = [0x811c9dc5, 0x9e3779b9]
  for (let i = 0; i < key.length; i++) {
    const unit = key.charCodeAt(i)
    a = Math.imul(a ^ unit, 0x01000193)
    b = Math.imul(b + unit, 0x85ebca6b) ^ (b >>> 15)
  }
  return [a >>> 0, (b | 1) >>> 0]
}

class Filter {
  readonly #bits: number
  readonly #words: Uint32Array

  constructor(rows: number) {
    this.#bits = Math.max(64, rows * FILTER_BITS)
    this.#words = new Uint32Array((this.#bits >>> 5) + 1)
  }

  add([a, b]: Hashes): void {
    for (let i = 0; i < FILTER_HASHES; i++) {
      const bit = (a + i * b) % this.#bits
      this.#words[bit >>> 5] = (this.#words[bit >>> 5] ?? 0) | (1 << (bit & 31))
    }
  }

  has([a, b]: Hashes): boolean {
    for (let i = 0; i < FILTER_HASHES; i++) {
      const bit = (a + i * b) % this.#bits
      if (((this.#words[bit >>> 5] ?? 0) & (1 << (bit & 31))) === 0) return false
    }
    return true
  }
}

function* portions<T>(list: readonly T[]): Generator<readonly T[]> {
  for (let at = 0; at < list.length; at += STATEMENT_ROWS) yield list.slice(at, at + STATEMENT_ROWS)
}

/** µs of the processor that this process has used. */
function cpu(): number {
  const { user, system } = process.cpuUsage()
  return user + system
}

const states: RowStates = kind === 'table' ? new Table() : new Runs()
const known: string[] = []
let rows = 0
const nextKey = () => `["${order === 'ascending' ? String(rows).padStart(9, '0') : randomUUID()}"]`
const someHash = () => randomBytes(16).toString('base64url')

for (const mark of MARKS.filter((mark) => mark <= Number(total))) {
  const [from, spent] = [rows, { insert: 0, update: 0 }]
  while (rows < mark) {
    const slice = new Map<string, State>()
    for (const end = Math.min(mark, rows + SLICE); rows < end; rows++) slice.set(nextKey(), [rows % 100, someHash()])
    known.push(...slice.keys())
    const start = cpu()
    states.get([...slice.keys()])
    states.store(slice)
    spent.insert += cpu() - start
  }
  const [times, size] = [500, 100]
  for (let n = 0; n < times; n++) {
    const changed = new Map<string, State>()
    while (changed.size < size) changed.set(known[Math.floor(Math.random() * known.length)] ?? '', [1, someHash()])
    const start = cpu()
    if (states.get([...changed.keys()]).size !== size) throw new Error('a row is lost')
    states.store(changed)
    spent.update += cpu() - start
  }
  console.log(
    JSON.stringify({
      kind,
      order,
      rows,
      'µs to insert one': Math.round((100 * spent.insert) / (rows - from)) / 100,
      'µs to update one of 100': Math.round((10 * spent.update) / (times * size)) / 10,
      ...states.figures(),
      'RSS, MB': Math.round(process.memoryUsage().rss / 1e6),
    }),
  )
}
rmSync(directory, { recursive: true })
