import type { SourceConnection } from '../../../sources/source.ts'
import { Copier } from '../copy/copier.ts'
import type { CopyWork } from '../copy/copy-work.ts'
import type { RowConsumer } from '../copy/row-consumer.ts'
import { storeRows } from '../copy/store-rows.ts'
import { storedWork } from '../copy/stored-work.ts'
import { careOf } from '../ingest/skipping.ts'
import type { SessionAccess } from '../verify/session-access.ts'
import type { Deadlines } from './deadlines.ts'
import type { SessionMarks } from './session-marks.ts'
import type { SessionOptions } from './session-options.ts'
import type { SessionParts } from './session-parts.ts'
import type { SessionState } from './session-state.ts'

export interface ReadsPorts {
  parts: Pick<SessionParts, 'store' | 'care' | 'committer' | 'verification'>
  kind: SessionOptions['kind']
  state: Pick<SessionState, 'waitingFor'>
  deadlines: Pick<Deadlines, 'longCall'>
  marks: Pick<SessionMarks, 'emitText'>
  session: SessionAccess
  source: Pick<SourceConnection, 'reader'>
}

/** The rows that a session reads beside the stream, one `Copier` at a time: to store them, or to compare them. */
export class Reads {
  readonly #ports: ReadsPorts
  #copier: Copier | null = null

  constructor(ports: ReadsPorts) {
    this.#ports = ports
  }

  /** Copies all that is to be copied, and reads rows that lack values. */
  copy(): Promise<void> {
    const { parts, session } = this.#ports
    const { store, care, committer } = parts
    const work = storedWork({ ...session, store, care, moved: () => committer.tellComparing() })
    return this.#run(work, storeRows(care))
  }

  /** Reads tables for a comparison, as far as it has not read them. */
  async compareTables(): Promise<void> {
    const { parts, session } = this.#ports
    const comparison = parts.verification.tableComparison(session)
    await this.#run(comparison, comparison)
    comparison.end()
  }

  /** A mark has come through the stream, which may be the one of a read. */
  arrived(mark: string): Iterable<undefined> {
    return this.#copier?.marker(mark) ?? []
  }

  /** The session is over: what waits for its place in the stream gets the error. */
  end(error: unknown): void {
    this.#copier?.end(error)
  }

  async #run(work: CopyWork, consumer: RowConsumer): Promise<void> {
    const { parts, kind, state, deadlines, marks, session, source } = this.#ports
    const { store, care } = parts
    const { rows } = store
    this.#copier = new Copier(
      {
        intake: session.intake,
        source: source.reader,
        form: kind,
        call: deadlines.longCall,
        mark: (mark) => marks.emitText(mark),
        keys: ({ number }, after, limit) => rows.keys(number, after, limit),
        range: ({ number }, from, to, limit) => rows.range(number, from, to, limit),
        room: () => session.room(),
        pause: (milliseconds) => session.pause(milliseconds),
        waitsFor: (what) => (state.waitingFor = what),
        care: careOf(care, store, true),
      },
      work,
      consumer,
    )
    try {
      await this.#copier.run()
    } finally {
      this.#copier = null
      state.waitingFor = null
    }
  }
}
