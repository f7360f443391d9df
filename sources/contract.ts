import { RockpoolError } from '../protocol/errors.ts'
import type {
  Call,
  Prepared,
  PrepareWanted,
  ReadRow,
  RowChange,
  SourceConnection,
  SourceEvent,
  SourceKind,
  SourceProblem,
  SourceStream,
  StreamedTo,
  TxView,
} from './source.ts'

// What every kind of source must keep, as checks over a database of that kind. A check throws when a rule is broken.
// The same checks run for each kind, and over the memory kind once without each rule, which shows that each check can
// fail. The checks are one list, so the file is long.

/** A change of `a` or `b`, which are tables with the key `id` and a column `v`. `row` is null for a delete. */
export interface BedChange {
  table: 'a' | 'b'
  id: string
  v: string | null
}

/** A database, and what a check may do to it. Each check is passed one in which nothing was followed yet. */
export interface ContractBed<Settings> {
  kind: SourceKind<Settings>
  url: string
  settings: Settings
  tables: Record<'a' | 'b', { schema: string; name: string }>
  /** Commits a transaction. Rows are inserted, or updated when they exist. */
  commit(...changes: readonly BedChange[]): Promise<void>
  /** Returns the stored position or place as if another transaction had been at it. */
  another<T extends object>(stored: T): T
  /**
   * Runs `work` while a transaction is delivered, or could be, that reads do not see. `work` is passed the function
   * that makes it visible.
   */
  unseen(change: BedChange, work: (reveal: () => Promise<void>) => Promise<void>): Promise<void>
  /**
   * Commits a transaction that changes another column of the row of `a`, so that the stream leaves out its `v`, which
   * is `LARGE_VALUE`.
   */
  unsent(id: string): Promise<void>
  /** Milliseconds within which something expected must arrive. Short where nothing crosses a network. */
  comesMs: number
  /** Runs `work` while `examine` is not answered. */
  silent(work: () => Promise<void>): Promise<void>
  close(): Promise<void>
}

export interface ContractRule<Settings> {
  name: string
  check(bed: ContractBed<Settings>): Promise<void>
}

/** Milliseconds for which a check waits to see that something does not happen. */
const NEVER_MS = 100
/** Random enough that no database can compress it. */
export const LARGE_VALUE = Array.from({ length: 4_000 }, (_, n) =>
  String.fromCharCode(33 + ((n * n * 7 + n * 31) % 90)),
).join('')
const NOWHERE: StreamedTo = { position: null, place: null }
const everything = () => ({ all: true, read: new Set<string>(), named: new Set<string>() })
const LONG_MS = 60_000
const call = (deadlineMs = LONG_MS): Call => ({ signal: new AbortController().signal, deadlineMs })
const row = (table: 'a' | 'b', id: string, v: string | null = id): BedChange => ({ table, id, v })

export function contractRules<Settings>(): ContractRule<Settings>[] {
  return [
    {
      name: 'a stream that is cut after any event continues after it, also when other tables are followed in between',
      async check(bed) {
        const first = await Followed.begin(bed, ['a', 'b'])
        const begun = await first.commitAfter(row('a', '0'))
        const changes = [row('b', '1'), row('a', '2'), row('b', '3'), row('a', '4'), row('b', '5'), row('a', '6')]
        await bed.commit(...changes)
        const events = await first.until((all) =>
          all.some((event) => event.kind === 'change' && event.key.includes('6')),
        )
        await first.close()
        const inside = changesOf(events).slice(-changes.length)
        expectEqual('events of the transaction', inside.length, changes.length)
        for (const [cut, event] of inside.entries()) {
          // Another set of tables, cut once more, and then the first set again.
          for (const [between, then] of [
            [['a'], ['a', 'b']],
            [['b'], ['a']],
            [['a', 'b'], ['b']],
          ] as const) {
            let at: StreamedTo = kept({ position: begun, place: event.at })
            let left = changes.slice(cut + 1)
            const second = await Followed.resume(bed, between, first, at)
            const next = left.findIndex(({ table }) => (between as readonly string[]).includes(table))
            if (next >= 0) {
              const [change] = await second.until((all) => changesOf(all).length > 0, changesOf)
              expectEqual(`the first of ${between.join()} after ${cut}`, idOf(change), left[next]?.id)
              at = kept({ position: begun, place: change?.at ?? null })
              left = left.slice(next + 1)
            }
            await second.close()
            const third = await Followed.resume(bed, then, second, at)
            const wanted = left.filter(({ table }) => (then as readonly string[]).includes(table)).map(({ id }) => id)
            const rest = await third.until((all) => all.some(({ kind }) => kind === 'commit'))
            await third.close()
            const end = rest.findIndex(({ kind }) => kind === 'commit')
            expectEqual(
              `what ${then.join()} get behind ${cut}`,
              changesOf(rest.slice(0, end)).map(idOf).join(),
              wanted.join(),
            )
          }
        }
      },
    },
    {
      name: 'what is stored is not delivered again, however often the source sends it',
      async check(bed) {
        const first = await Followed.begin(bed, ['a'])
        await first.commitAfter(row('a', '1'))
        const position = await first.commitAfter(row('a', '2'))
        first.stream.acknowledge(position)
        await first.close()
        const second = await Followed.resume(bed, ['a'], first, kept({ position, place: null }))
        await bed.commit(row('a', '3'))
        const events = await second.until((all) => changesOf(all).some((each) => idOf(each) === '3'))
        await second.close()
        expectEqual('changes', changesOf(events).map(idOf).join(), '3')
      },
    },
    {
      name: 'another transaction at the place of the stored one ends the stream: everything is compared',
      async check(bed) {
        const first = await Followed.begin(bed, ['a'])
        const position = await first.commitAfter(row('a', '1'))
        await bed.commit(row('a', '2'), row('a', '3'))
        const events = await first.until((all) => changesOf(all).length >= 3)
        await first.close()
        const place = changesOf(events).find((each) => idOf(each) === '2')?.at ?? null
        if (place === null) throw new Error('the second transaction did not arrive')
        for (const at of [
          { position: bed.another(position), place: null },
          { position, place: bed.another(place) },
        ]) {
          const second = await Followed.resume(bed, ['a'], first, kept(at))
          await bed.commit(row('a', '4'))
          const code = await second.end()
          expectEqual('how the stream ends', code, 'ROCKPOOL_SOURCE_CHANGED')
          expectEqual('changes', changesOf(second.events).length, 0)
        }
      },
    },
    {
      name: 'a change that is no event is told all the same: one that is stored, and one of a table that is not followed',
      async check(bed) {
        const first = await Followed.begin(bed, ['a', 'b'])
        const begun = await first.commitAfter(row('a', '0'))
        await bed.commit(row('a', '1'), row('b', '2'), row('a', '3'), row('b', '4'), row('a', '5'))
        const events = await first.until((all) => isCommitted(all, '5'))
        await first.close()
        expectEqual('passed while nothing was stored', passed(events, false), 0)
        const place = changesOf(events).find((each) => idOf(each) === '2')?.at ?? null
        const second = await Followed.resume(bed, ['a'], first, kept({ position: begun, place }))
        const rest = await second.until((all) => isCommitted(all, '5'))
        await second.close()
        const at = rest.findIndex(({ kind }) => kind === 'begin')
        const end = rest.findIndex(({ kind }) => kind === 'commit')
        expectEqual('changes', changesOf(rest).map(idOf).slice(0, 2).join(), '3,5')
        expectEqual('passed in the transaction', passed(rest.slice(at, end), false), 3)
        expectEqual('passed outside of a transaction', passed(rest.slice(0, at), true) > 0, true)
      },
    },
    {
      name: 'a transaction that is left behind is not sent again, also when the source has not heard of it at first',
      async check(bed) {
        for (const [id, heard] of [
          ['1', true],
          ['2', false],
        ] as const) {
          const first = await Followed.begin(bed, ['a'])
          const position = await first.commitAfter(row('a', `${id} before`))
          first.stream.acknowledge(position)
          await bed.commit(...Array.from({ length: 3 }, (_, n) => row('a', `${id} left ${n}`)))
          const events = await first.until((all) => changesOf(all).some((each) => idOf(each) === `${id} left 0`))
          const begin = events.findLast((event) => event.kind === 'begin')
          if (begin?.kind !== 'begin') throw new Error('it did not begin')
          const at = kept({ position: begin.beyond, place: null })
          if (heard) first.stream.acknowledge(at.position)
          await first.close()
          if (!heard) {
            const other = await Followed.resume(
              bed,
              ['a'],
              first,
              kept({ position: bed.another(begin.beyond), place: null }),
            )
            await bed.commit(row('a', `${id} other`))
            expectEqual('how the stream behind another transaction ends', await other.end(), 'ROCKPOOL_SOURCE_CHANGED')
            const second = await Followed.resume(bed, ['a'], first, at)
            expectEqual(
              'how a stream ends of which the source has not heard',
              await second.end(),
              'ROCKPOOL_SOURCE_UNREACHABLE',
            )
          }
          const third = await Followed.resume(bed, ['a'], first, at)
          // As after each slice of what comes next.
          third.stream.acknowledge(at.position)
          const next = await third.commitAfter(row('a', `${id} next`))
          const came = [...third.events]
          await third.close()
          const wanted = heard ? [`${id} next`] : [`${id} other`, `${id} next`]
          expectEqual('what comes behind it', [...new Set(changesOf(came).map(idOf))].join(), wanted.join())
          expectEqual('what passed before', came.findIndex(({ kind }) => kind === 'passed') === 0, false)
          // What came behind it is proved as ever.
          const fourth = await Followed.resume(bed, ['a'], first, kept({ position: next, place: null }))
          await fourth.commitAfter(row('a', `${id} last`))
          await fourth.close()
        }
      },
    },
    {
      name: 'a source that continues is distinguished from one that has forgotten us and from one that starts over',
      async check(bed) {
        const first = await Followed.begin(bed, ['a'])
        const position = await first.commitAfter(row('a', '1'))
        await first.close()
        const at = kept({ position, place: null })
        const goesOn = await connect(bed, ['a'], first.prepared.identity, at)
        expectEqual('a source that continues', goesOn.prepared.resync, null)
        await goesOn.source.forget(call())
        await goesOn.source.close(1_000)
        const forgotten = await connect(bed, ['a'], first.prepared.identity, at)
        if (forgotten.prepared.resync === null) throw new Error('a source that has forgotten us says that it continues')
        const fresh = await prepared(forgotten.source, bed, ['a'], {
          identity: first.prepared.identity,
          at: NOWHERE,
          fresh: true,
        })
        expectEqual('a source that starts over', fresh.resync, null)
        await forgotten.source.close(1_000)
      },
    },
    {
      name: 'a mark comes after everything that was committed before it',
      async check(bed) {
        const first = await Followed.begin(bed, ['a'])
        for (let n = 1; n <= 5; n++) await bed.commit(row('a', String(n)))
        await first.source.mark('here', call())
        const events = await first.until((all) => all.some(isMark('here')))
        await first.close()
        expectEqual('changes before the mark', changesOf(events.slice(0, events.findIndex(isMark('here')))).length, 5)
      },
    },
    {
      name: 'a read says which transactions it has seen, and has seen their rows',
      async check(bed) {
        const first = await Followed.begin(bed, ['a'])
        await bed.unseen(row('a', 'unseen'), async (reveal) => {
          const table = first.prepared.tables[0]
          if (!table) throw new Error('the table is not followed')
          const before = await first.source.reader.rows(table, ['["unseen"]'], 'rows', call())
          await reveal()
          const tx = await first.transactionOf('unseen')
          expectEqual('a read before the transaction', [before.rows.length, before.view.sees(tx)].join(), '0,false')
          const after = await first.source.reader.rows(table, ['["unseen"]', '["none"]'], 'rows', call())
          expectEqual('a read after the transaction', [after.rows.length, after.view.sees(tx)].join(), '1,true')
          expectEqual('the value that was read', after.rows[0]?.decode().row.v, 'unseen')
        })
        await first.close()
      },
    },
    {
      name: 'nothing is read before everything that was delivered is visible',
      async check(bed) {
        const first = await Followed.begin(bed, ['a'])
        await bed.unseen(row('a', 'unseen'), async (reveal) => {
          let ready = false
          const seen: TxView[] = []
          const wait = {
            pause: (ms: number) => sleep(Math.min(ms, 20)),
            waitsFor: () => {},
            seen: (view: TxView) => seen.push(view),
          }
          const waiting = first.source.reader.ready(wait, call()).then(() => (ready = true))
          await sleep(NEVER_MS)
          expectEqual('ready while a transaction is not visible', ready, false)
          await reveal()
          await within('ready', waiting, bed.comesMs)
        })
        await first.close()
      },
    },
    {
      name: 'a value that was left out is not made up: it is taken from the stored image, or the row is not known',
      async check(bed) {
        const first = await Followed.begin(bed, ['a'])
        await first.commitAfter(row('a', 'large', LARGE_VALUE))
        const [inserted] = changesOf(first.events)
        const image = kept(inserted?.read(() => null)?.image ?? null)
        await bed.unsent('large')
        await first.until((all) => changesOf(all).length > 1)
        const change = changesOf(first.events)[1]
        if (change) {
          expectEqual('everything was sent', change.sent().whole, false)
          expectEqual(
            'a row without an image',
            change.read(() => null),
            null,
          )
          expectEqual('a row with a whole image', change.read(() => image)?.row.v, LARGE_VALUE)
        }
        await first.close()
      },
    },
    {
      name: 'a copy reads every row once, also when each of its chunks is read by another session',
      async check(bed) {
        const ids = Array.from({ length: 300 }, (_, n) => String(1_000 + n))
        await bed.commit(...ids.map((id) => row('a', id)))
        const first = await Followed.begin(bed, ['a'])
        const found: string[] = []
        const [table] = first.prepared.tables
        if (!table) throw new Error('the table is not followed')
        const { reader } = first.source
        let { cursor } = await reader.begin(table, null, call())
        for (let chunks = 0; ; chunks++) {
          if (chunks > 1_000) throw new Error('the copy does not end')
          const chunk = await reader.chunk(table, kept(cursor), { rows: 40, length: 100_000 }, call())
          if (chunk.kind === 'end') break
          if (chunk.kind === 'rewritten')
            throw new Error('the copy says that the table was rewritten, which it was not')
          if (chunk.kind === 'rows') found.push(...chunk.read.rows.map(({ key }: ReadRow) => key))
          cursor = chunk.next
        }
        await first.close()
        expectEqual('rows', found.sort().join(), ids.map((id) => JSON.stringify([id])).join())
      },
    },
    {
      name: 'a call that is not answered in time rejects, its connection is closed, and a new connection loses nothing',
      async check(bed) {
        const first = await Followed.begin(bed, ['a'])
        const position = await first.commitAfter(row('a', '1'))
        await bed.silent(async () => {
          const code = await within(
            'the deadline',
            codeOf(first.source.examine([bed.tables.a], everything, call(NEVER_MS))),
            bed.comesMs,
          )
          expectEqual('how the call ends', code, 'ROCKPOOL_SOURCE_UNREACHABLE')
        })
        expectEqual(
          'the next call',
          await codeOf(first.source.examine([bed.tables.a], everything, call())),
          'ROCKPOOL_SOURCE_UNREACHABLE',
        )
        await first.close()
        const second = await Followed.resume(bed, ['a'], first, kept({ position, place: null }))
        await bed.commit(row('a', '2'))
        const events = await second.until((all) => changesOf(all).length > 0)
        await second.close()
        expectEqual('changes', changesOf(events).map(idOf).join(), '2')
      },
    },
    {
      name: 'a call rejects when its session is over',
      async check(bed) {
        const first = await Followed.begin(bed, ['a'])
        await bed.silent(async () => {
          const over = new AbortController()
          const asked = codeOf(
            first.source.examine([bed.tables.a], everything, { signal: over.signal, deadlineMs: LONG_MS }),
          )
          await sleep(NEVER_MS / 2)
          over.abort()
          expectEqual(
            'how the call ends',
            await within('the end of the call', asked, bed.comesMs),
            'ROCKPOOL_SOURCE_UNREACHABLE',
          )
        })
        await first.close()
      },
    },
    {
      name: 'a table that the database does not have is refused, and the others are followed',
      async check(bed) {
        const { source, prepared: found } = await connect(bed, ['a'], null, NOWHERE, [
          { schema: 'public', name: 'nobody' },
        ])
        await source.close(1_000)
        expectEqual('refused', found.refused.map(({ name }) => name.name).join(), 'nobody')
        expectEqual('followed', found.tables.map(({ name }) => name).join(), bed.tables.a.name)
      },
    },
  ]
}

/** Returns the state as it comes back from storage. */
const kept = <T>(state: T): T => JSON.parse(JSON.stringify(state)) as T
const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

const changesOf = (events: readonly SourceEvent[]): RowChange[] => events.filter((event) => event.kind === 'change')
const passed = (events: readonly SourceEvent[], whole: boolean): number =>
  events.filter((event) => event.kind === 'passed' && event.whole === whole).length
const idOf = (change: RowChange | undefined): string | undefined =>
  change && String((JSON.parse(change.key) as string[])[0])
const isMark = (text: string) => (event: SourceEvent) => event.kind === 'mark' && event.text === text

function expectEqual(what: string, found: unknown, wanted: unknown): void {
  if (found !== wanted) throw new Error(`${what}: ${String(found)}, not ${String(wanted)}`)
}

async function within<T>(what: string, work: Promise<T>, comesMs: number): Promise<T> {
  const late = sleep(comesMs).then(() => {
    throw new Error(`it did not happen in time: ${what}`)
  })
  return Promise.race([work, late])
}

const codeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'answered',
    (error: unknown) => (error instanceof RockpoolError ? error.code : String(error)),
  )

async function prepared<Settings>(
  source: SourceConnection,
  bed: ContractBed<Settings>,
  tables: readonly ('a' | 'b')[],
  wanted: Pick<PrepareWanted, 'identity' | 'at' | 'fresh'>,
  others: PrepareWanted['tables'] = [],
): Promise<Prepared> {
  const problems: SourceProblem[] = []
  const report = { problem: (problem: SourceProblem) => problems.push(problem), waitsFor: () => {} }
  return source.prepare(
    { tables: [...tables.map((each) => bed.tables[each]), ...others], columns: everything, ...wanted },
    report,
    call(),
  )
}

async function connect<Settings>(
  bed: ContractBed<Settings>,
  tables: readonly ('a' | 'b')[],
  identity: Prepared['identity'] | null,
  at: StreamedTo,
  others: PrepareWanted['tables'] = [],
): Promise<{ source: SourceConnection; prepared: Prepared }> {
  const { kind, url, settings } = bed
  const source = kind.connect({ url, settings, clientName: 'rockpool-contract', identity: identity && kept(identity) })
  return {
    source,
    prepared: await prepared(source, bed, tables, { identity: identity && kept(identity), at, fresh: false }, others),
  }
}

/** A session that records the events of its stream. */
class Followed<Settings> {
  readonly source: SourceConnection
  readonly prepared: Prepared
  readonly stream: SourceStream
  readonly events: SourceEvent[]
  readonly #bed: ContractBed<Settings>
  readonly #wake: { now: () => void }

  private constructor(
    bed: ContractBed<Settings>,
    session: Pick<Followed<Settings>, 'source' | 'prepared' | 'stream' | 'events'>,
    wake: { now: () => void },
  ) {
    this.#bed = bed
    this.source = session.source
    this.prepared = session.prepared
    this.stream = session.stream
    this.events = session.events
    this.#wake = wake
    this.stream.ended.catch(() => {})
  }

  static begin<Settings>(bed: ContractBed<Settings>, tables: readonly ('a' | 'b')[]): Promise<Followed<Settings>> {
    return Followed.#open(bed, tables, null, NOWHERE)
  }

  static resume<Settings>(
    bed: ContractBed<Settings>,
    tables: readonly ('a' | 'b')[],
    before: Followed<Settings>,
    at: StreamedTo,
  ): Promise<Followed<Settings>> {
    return Followed.#open(bed, tables, before.prepared.identity, at)
  }

  static async #open<Settings>(
    bed: ContractBed<Settings>,
    tables: readonly ('a' | 'b')[],
    identity: Prepared['identity'] | null,
    at: StreamedTo,
  ): Promise<Followed<Settings>> {
    const { source, prepared: found } = await connect(bed, tables, identity, at)
    if (found.resync) throw new Error(`the stream does not connect: ${found.resync.reason}`)
    const events: SourceEvent[] = []
    const wake = { now: () => {} }
    const stream = await found.open(
      at,
      (event) => {
        events.push(event)
        wake.now()
      },
      call(),
    )
    return new Followed(bed, { source, prepared: found, stream, events }, wake)
  }

  /** Commits a change, and returns the position after it. */
  async commitAfter(change: BedChange): Promise<NonNullable<StreamedTo['position']>> {
    const from = this.events.length
    await this.#bed.commit(change)
    const events = await this.until((all) => isCommitted(all.slice(from), change.id))
    const end = events.slice(events.findIndex((each) => each.kind === 'change' && idOf(each) === change.id))
    const commit = end.find((event) => event.kind === 'commit')
    if (commit?.kind !== 'commit') throw new Error('the commit did not arrive')
    return commit.position
  }

  async transactionOf(id: string): Promise<bigint> {
    const events = await this.until((all) => isCommitted(all, id))
    const at = events.findIndex((each) => each.kind === 'change' && idOf(each) === id)
    const begin = events.slice(0, at).findLast((event) => event.kind === 'begin')
    if (begin?.kind !== 'begin') throw new Error('the transaction did not begin')
    return begin.tx
  }

  /** Returns the events so far once `done` accepts them. Rejects when the stream ends before that. */
  until(done: (events: readonly SourceEvent[]) => boolean): Promise<SourceEvent[]>
  until<T>(done: (events: readonly SourceEvent[]) => boolean, of: (events: readonly SourceEvent[]) => T): Promise<T>
  async until(
    done: (events: readonly SourceEvent[]) => boolean,
    of: (events: readonly SourceEvent[]) => unknown = (all) => [...all],
  ): Promise<unknown> {
    const came = new Promise<void>((resolve) => {
      this.#wake.now = () => {
        if (done(this.events)) resolve()
      }
    })
    this.#wake.now()
    await within('an event', Promise.race([came, this.stream.ended]), this.#bed.comesMs)
    return of(this.events)
  }

  /** Returns the code of the error with which the stream ends. */
  async end(): Promise<string> {
    const code = await within(
      'the end of the stream',
      Promise.race([codeOf(this.stream.ended), this.#changed()]),
      this.#bed.comesMs,
    )
    await this.close()
    return code
  }

  /** Resolves when a change arrives, which the check does not expect. */
  async #changed(): Promise<string> {
    await this.until((all) => changesOf(all).length > 0).catch(() => new Promise(() => {}))
    return 'changes'
  }

  async close(): Promise<void> {
    await this.stream.close().catch(() => {})
    await this.source.close(1_000)
  }
}

function isCommitted(events: readonly SourceEvent[], id: string): boolean {
  const at = events.findIndex((each) => each.kind === 'change' && idOf(each) === id)
  return at >= 0 && events.slice(at).some(({ kind }) => kind === 'commit')
}
