import { faultPoint } from '../../shared/fault-points.ts'
import type { Batch } from '../ingest/batch.ts'
import { markText, parseMark, type Marks } from '../ingest/marks.ts'
import type { Store } from '../store/store.ts'
import { deliver } from '../writes/write-checkpoints.ts'

/**
 * `session`: everything that was committed before it has come. `switch`: from here on another plan serves. `heartbeat`:
 * it is only acknowledged.
 */
export type SessionMark = 'session' | 'switch' | 'heartbeat'

export interface SessionMarksPorts {
  store: Pick<Store, 'state' | 'diagnostics'>
  marks: Marks
  /** Writes a signed text into the source. */
  send(text: string): Promise<void>
  /** Returns what is reported to operators of a mark that is not ours. */
  foreignMark(): string
  /** A mark of this session has come back through the stream. */
  arrived(mark: SessionMark): void
  /** Any other mark of ours, which may be one of a read. It yields where it may wait for room. */
  readArrived(mark: string): Iterable<undefined>
}

/**
 * The marks of one session: it emits them into the source, and they come back through the stream after everything that
 * was committed before.
 */
export class SessionMarks {
  readonly #ports: SessionMarksPorts
  /** Marks of other sessions are ignored. */
  readonly #id = crypto.randomUUID()
  #foreignReported = false

  constructor(ports: SessionMarksPorts) {
    this.#ports = ports
  }

  emit(mark: SessionMark): Promise<void> {
    return this.emitText(`${mark} ${this.#id}`)
  }

  /** For the mark of a read. */
  emitText(mark: string): Promise<void> {
    return this.#ports.send(this.#ports.marks.sign(markText(mark)))
  }

  /** A mark has come, inside its transaction. One of a write checkpoint is delivered with the batch. */
  deliver(batch: Batch, text: string): void {
    const { store, marks, foreignMark } = this.#ports
    const ours = marks.open(text)
    if (ours) deliver(batch, ours.content, ours.earlier ? store.state.get('issued') : undefined)
    else if (!this.#foreignReported) {
      this.#foreignReported = true
      store.diagnostics.add({ code: 'ROCKPOOL_FOREIGN_MARKER', reason: foreignMark() })
    }
  }

  /** The transaction of a mark has come as a whole. */
  *committed(text: string): Generator<undefined, void> {
    const ours = this.#ports.marks.open(text)
    const mark = ours && parseMark(ours.content)
    if (mark === null) return
    faultPoint('stream.marker')
    const own = OWN_MARKS.find((each) => mark === `${each} ${this.#id}`)
    if (own) this.#ports.arrived(own)
    else yield* this.#ports.readArrived(mark)
  }
}

const OWN_MARKS: readonly SessionMark[] = ['session', 'switch', 'heartbeat']
