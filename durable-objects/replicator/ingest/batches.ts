import { mailboxPrefix } from '../../../protocol/names.ts'
import { tableText } from '../../../protocol/tables.ts'
import { evaluateNames } from '../../../sync-config/evaluate/names.ts'
import type { RowState } from '../store/row-state.ts'
import type { Store } from '../store/store.ts'
import type { RowProgram } from '../../../sync-config/types.ts'
import { MAILBOX_DEFINITION } from '../writes/mailboxes.ts'
import { Batch, type BatchPorts, type BatchTable } from './batch.ts'

export interface BatchesPorts {
  store: Store
  /** What source rows become now. */
  evaluation(): RowProgram
  /** An op of the bucket is being made. */
  touched(bucket: number): void
}

/** Makes batches over what is stored, under what is evaluated now. */
export class Batches {
  readonly #ports: BatchesPorts

  constructor(ports: BatchesPorts) {
    this.#ports = ports
  }

  next(): Batch {
    return new Batch(this.#ports.store.state.get('decode').counter, this.#batchPorts)
  }

  /** A batch over another one that is never stored, to see what it would do. */
  trial(batch: Batch): Batch {
    return new Batch(batch.counter, {
      ...this.#batchPorts,
      states: (table, keys) => statesOf(batch, table, keys),
      skipped: () => {},
    })
  }

  get #batchPorts(): BatchPorts {
    const { store, evaluation, touched } = this.#ports
    const { rows, buckets, state, diagnostics } = store
    return {
      evaluate: (table, row) => evaluateNames(evaluation(), table.names ?? [table], row),
      states: (table, keys) => rows.all(table.number, keys, table.name),
      number: (bucket, definition) => {
        const name =
          definition === MAILBOX_DEFINITION ? bucket.replace(mailboxPrefix(), mailboxPrefix(state.seed())) : bucket
        const number = buckets.number(name, definition)
        // Already now: its object, and its record with it, could be erased before this is stored.
        touched(number)
        return number
      },
      skipped: (table, key, reason, definition) =>
        diagnostics.add({
          code: 'ROCKPOOL_ROW_SKIPPED',
          table: tableText(table),
          ...(key === null ? {} : { key }),
          reason,
          ...(definition === undefined ? {} : { of: { definition } }),
        }),
    }
  }
}

function statesOf(batch: Batch, table: BatchTable, keys: readonly string[]): Map<string, RowState> {
  return new Map(
    keys.flatMap((key) => {
      const state = batch.state(table, key)
      return state ? [[key, state]] : []
    }),
  )
}
