import type { SourceIdentity, StreamedTo } from '../../../sources/source.ts'
import { fromStored, toStored, type StateForm, type StoredState } from '../../../sources/stored.ts'
import { cursorOf } from '../copy/copy-state.ts'
import type { Store } from '../store/store.ts'

/** Returns null also for state of another kind: see `foreignState`. */
const ofKind = (form: StateForm, stored: StoredState | null) => {
  if (stored === null) return null
  const found = fromStored(form, stored)
  return 'foreign' in found ? null : found.value
}

/** Returns which database was followed so far; null when none was. */
export const keptIdentity = (form: StateForm, { state }: Pick<Store, 'state'>): SourceIdentity | null =>
  ofKind(form, state.get('source'))

/** Returns how far the stream was taken in. */
export function streamedTo(form: StateForm, { state }: Pick<Store, 'state'>): StreamedTo {
  const { position, partial } = state.get('decode')
  return { position: ofKind(form, position), place: ofKind(form, partial) }
}

export const NOWHERE: StreamedTo = { position: null, place: null }

/** Returns the place in the stream as `decode` stores it. */
export const storedPlace = (
  form: StateForm,
  { position, place }: StreamedTo,
): { position: StoredState | null; partial: StoredState | null } => ({
  position: position && toStored(form, position),
  partial: place && toStored(form, place),
})

/**
 * Returns why the stored state cannot be used with this source, or null when it can. Another kind, or another version
 * of it, may have stored it.
 */
export function foreignState(form: StateForm, { state, tables }: Pick<Store, 'state' | 'tables'>): string | null {
  const { position, partial } = state.get('decode')
  for (const stored of [state.get('source'), position, partial]) {
    const found = stored && fromStored(form, stored)
    if (found && 'foreign' in found) return found.foreign
  }
  for (const copy of tables.copies) {
    const found = cursorOf(form, copy)
    if ('foreign' in found) return found.foreign
  }
  return null
}
