import { MESSAGE_VERSION } from '../../../protocol/versions.ts'
import type { OpId } from '../../../protocol/ops.ts'
import { faultPoint, asyncFaultPoint } from '../../shared/fault-points.ts'
import type { BucketRecord, Buckets } from '../store/buckets.ts'
import { ownerOf, type Definitions } from '../store/definitions.ts'
import type { RowStates } from '../store/row-state.ts'
import type { StateStore } from '../store/storage.ts'

const ROWS_PER_STEP = 2_000
const RECORDS_PER_STEP = 1_000
/** The number of buckets that one step deletes. */
const BUCKETS_PER_STEP = 32

export interface DropPorts {
  /** Runs one transaction. When it fails, the object is reset, because memory may differ from storage. */
  atomically<T>(work: () => T): T
  state: StateStore
  definitions: Definitions
  buckets: Buckets
  rows(): RowStates
  committed(): OpId
  /** Returns true when an evaluated definition reads the table. */
  isRead(t: number): boolean
  /** Deletes the bucket. */
  remove(bucket: string, request: { v: number; serial: OpId }): Promise<void>
  /** Marks its object for erasing, see `Tidying.dropped`. Called in a transaction. */
  dropped(record: BucketRecord, serial: OpId): void
  failed(bucket: string, reason: string): void
  /** Called in the transaction that forgets the buckets. */
  gone(buckets: readonly number[]): void
}

/**
 * Removes what definitions left that are no longer evaluated: first their buckets from row state, without an op,
 * because no client has these buckets; then the buckets; then their records. Their objects still say that they are
 * gone, and are erased later (`tidying.ts`). Each step is bounded and may be repeated, also after a crash.
 */
export class Drops {
  readonly #ports: DropPorts
  /** The number of the last record that was processed. */
  #after = 0
  #failed = false

  constructor(ports: DropPorts) {
    this.#ports = ports
  }

  get pending(): boolean {
    return this.#ports.state.get('drop') !== null
  }

  /**
   * Does one step. Returns `busy` when the next one may follow at once, and `idle` when something else must happen
   * first.
   */
  async step(): Promise<'busy' | 'idle'> {
    const { state, definitions, committed } = this.#ports
    const drop = state.get('drop')
    if (!drop) return 'idle'
    await asyncFaultPoint('drop.step')
    if (!drop.swept) {
      this.#sweep(drop)
      return 'busy'
    }
    // Their ops in flight must not arrive after the deletion.
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
      // Starts again, for the buckets that could not be deleted.
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
