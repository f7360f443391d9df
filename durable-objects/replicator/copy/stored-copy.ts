import type { Care } from '../ingest/care.ts'
import { careOf } from '../ingest/skipping.ts'
import type { Store } from '../store/store.ts'
import { newCopy } from './copy-state.ts'
import type { ReaderPorts } from './reader.ts'

type StoredCopy = Pick<
  ReaderPorts,
  'care' | 'copyState' | 'progress' | 'incomplete' | 'retired' | 'successor' | 'forget' | 'keys' | 'range'
>

/** For a reader that copies: what is to be read, and what there is. `moved` is called when more of a table is read. */
export function storedCopy(store: Pick<Store, 'tables' | 'rows' | 'diagnostics'>, care: Care, moved: () => void): StoredCopy {
  const { tables, rows } = store
  return {
    copyState: (table) => tables.copyState(table),
    care: careOf(care, store, true),
    progress: (table, copy) => {
      tables.progress(table, copy.state === 'done' && care.copied(table.number) ? newCopy(true) : copy)
      moved()
    },
    incomplete: (limit) => tables.incomplete(limit),
    retired: () => tables.retired,
    successor: (table) => tables.successor(table),
    forget: (table) => tables.forget(table),
    keys: ({ number }, after, limit) => rows.keys(number, after, limit),
    range: ({ number }, from, to, limit) => rows.range(number, from, to, limit),
  }
}
