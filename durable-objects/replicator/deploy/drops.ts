import { MESSAGE_VERSION } from '../../../protocol/versions.ts'
import type { OpId } from '../../../protocol/ops.ts'
import { faultPoint, asyncFaultPoint } from '../../shared/fault-points.ts'
import type { BucketRecord, Buckets } from '../store/buckets.ts'
import { ownerOf, type Definitions } from '../store/definitions.ts'
import type { RowStates } from '../store/row-state.ts'
import type { StateStore } from '../store/storage.ts'

const ROWS_PER_STEP = 2_000
const RECORDS_PER_STEP = 1_000
/** Buckets deleted at a time. */
const BUCKETS_PER_STEP = 32

export interface DropPorts {
  /** One transaction; an object whose memory may differ from it is reset. */
  atomically<T>(work: () => T): T
  state: StateStore
  definitions: Definitions
  buckets: Buckets
  rows(): RowStates
  committed(): OpId
  /** Whether anything evaluated reads the table. */
  isRead(t: number): boolean
  /** Deletes the bucket. */
  remove(bucket: string, request: { v: number; serial: OpId }): Promise<void>
  /** Its object is to be erased: see `Tidying.dropped`. In a transaction. */
  dropped(record: BucketRecord, serial: OpId): void
  failed(bucket: string, reason: string): void
  /** In the transaction that forgets the bucket. */
  gone(buckets: readonly number[]): void
}

/**
 * Takes away what definitions leave behind that are not evaluated any more: first what row state says of their buckets, without an op, because
 * nobody has these buckets; then the buckets; then their records. What is left of their objects says that they are gone, and is erased later (`tidying.ts`). Each step is bounded and may be repeated; a crash goes on where it was.
 */
export class Drops {
  readonly #ports: DropPorts
  /** Number of the last record that was looked at. */
  #after = 0
  #failed = false

  constructor(ports: DropPorts) {
    this.#ports = ports
  }

  get pending(): boolean {
    return this.#ports.state.get('drop') !== null
  }

  /** One step. Returns `busy` when the next one may follow at once, and `idle` when something must happen first. */
  async step(): Promise<'busy' | 'idle'> {
    const { state, definitions, committed } = this.#ports
    const drop = state.get('drop')
    if (!drop) return 'idle'
    await asyncFaultPoint('drop.step')
    if (!drop.swept) {
      this.#sweep(drop)
      return 'busy'
    }
    // Ops of theirs that are on their way must not come behind the deletion.
    if (definitions.dropping.some(({ serial }) => serial > committed())) return 'idle'
    return this.#delete()
  }

  #sweep({ t, key }: { t: number; key: string }): void {
    const { atomically, state, isRead, rows } = this.#ports
    atomically(() => {
      const last = rows().sweep({ t, key }, ROWS_PER_STEP, isRead)
      faultPoint('drop.swept')
      state.set('drop', last === null ? { t, key, swept: true } : { ...last, swept: false })
    })
    this.#after = 0
    this.#failed = false
  }

  async #delete(): Promise<'busy' | 'idle'> {
    const { atomically, state, definitions, buckets, dropped } = this.#ports
    const dropping = definitions.dropping
    const owners = new Map(dropping.map((definition) => [ownerOf(definition), definition.serial]))
    const page = buckets.page(this.#after, RECORDS_PER_STEP)
    if (page.length === 0 && this.#failed) {
      // Once more from the beginning: those that could not be deleted are still there.
      this.#after = 0
      this.#failed = false
      return 'idle'
    }
    if (page.length === 0) {
      atomically(() => {
        for (const definition of dropping) definitions.gone(definition)
        state.set('drop', null)
        faultPoint('drop.done')
      })
      return 'idle'
    }
    const found = page.filter(({ definition }) => owners.has(definition)).slice(0, BUCKETS_PER_STEP)
    const removed = await Promise.all(found.map((record) => this.#remove(record, owners.get(record.definition) ?? 0)))
    await asyncFaultPoint('drop.removed')
    const gone = found.filter((_, i) => removed[i])
    if (gone.length > 0) {
      atomically(() => {
        buckets.forget(gone)
        for (const record of gone) dropped(record, owners.get(record.definition) ?? 0)
        this.#ports.gone(gone.map(({ number }) => number))
      })
    }
    this.#failed ||= gone.length < found.length
    this.#after = (found.length === BUCKETS_PER_STEP ? found : page).at(-1)?.number ?? 0
    return 'busy'
  }

  async #remove({ name }: BucketRecord, serial: OpId): Promise<boolean> {
    try {
      await asyncFaultPoint('drop.remove')
      await this.#ports.remove(name, { v: MESSAGE_VERSION, serial })
      return true
    } catch (error) {
      this.#ports.failed(name, error instanceof Error ? error.message : String(error))
      return false
    }
  }
}
