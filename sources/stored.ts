/** Names the kind that a stored state belongs to, and the version of its form. */
export interface StateForm {
  readonly name: string
  readonly version: number
}

/** State that is stored for a kind. Nothing else looks inside it, compares it or orders it. */
export type OpaqueState = { readonly [member: string]: unknown }

/** How it is stored. */
export interface WrappedState {
  readonly kind: string
  readonly v: number
  readonly value: OpaqueState
}

/**
 * State as it is found: wrapped, or bare as releases up to 1f167cff (2026-11-30) wrote it, which knew only one kind of
 * source.
 */
export type StoredState = WrappedState | OpaqueState

/** The kind whose state may be bare. That form is read, but no longer written. */
export const BARE_FORM: StateForm = { name: 'postgres', version: 1 }

/** The members of a bare cursor at the beginning of a table. */
export const BARE_START = { filenode: 0, part: 0, block: 0, blocks: 0 }

const isForm = (form: StateForm, { name, version }: StateForm): boolean =>
  form.name === name && form.version === version

function isWrapped(stored: StoredState): stored is WrappedState {
  const { kind, v, value } = stored
  return typeof kind === 'string' && typeof v === 'number' && typeof value === 'object' && value !== null
}

/** Returns the state of a kind as it is stored. */
export const toStored = ({ name, version }: StateForm, value: OpaqueState): WrappedState => ({
  kind: name,
  v: version,
  value,
})

/**
 * Returns stored state for the kind that reads it, or `foreign`, which says whose it is when it is of another kind or
 * version.
 */
export function fromStored(form: StateForm, stored: StoredState): { value: OpaqueState } | { foreign: string } {
  const wrapped = isWrapped(stored)
  const of: StateForm = wrapped ? { name: stored.kind, version: stored.v } : BARE_FORM
  if (!isForm(form, of))
    return {
      foreign: `the stored state is of the kind ${of.name}, version ${of.version}, not ${form.name}, version ${form.version}`,
    }
  return { value: wrapped ? stored.value : stored }
}

/** Returns the state of any kind, for strings that are not used before a comparison has shown whose they are. */
export const bareState = (stored: StoredState): OpaqueState => (isWrapped(stored) ? stored.value : stored)
