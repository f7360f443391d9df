/** Whose state something is, and in which version of that kind's form. */
export interface StateForm {
  readonly name: string
  readonly version: number
}

/** What a kind has us keep. Nobody else looks inside, compares or orders it. */
export type OpaqueState = { readonly [member: string]: unknown }

/** How it is stored. */
export interface WrappedState {
  readonly kind: string
  readonly v: number
  readonly value: OpaqueState
}

/** State as it is found: wrapped, or bare, as releases up to 1f167cff (2026-11-30) stored it, which knew one kind of source. */
export type StoredState = WrappedState | OpaqueState

/** Whose state is bare: it is read, and no longer written. */
export const BARE_FORM: StateForm = { name: 'postgres', version: 1 }

/** The members of a bare cursor at the beginning of a table. */
export const BARE_START = { filenode: 0, part: 0, block: 0, blocks: 0 }

const isForm = (form: StateForm, { name, version }: StateForm): boolean => form.name === name && form.version === version

function isWrapped(stored: StoredState): stored is WrappedState {
  const { kind, v, value } = stored
  return typeof kind === 'string' && typeof v === 'number' && typeof value === 'object' && value !== null
}

/** Returns the state of a kind as it is stored. */
export const toStored = ({ name, version }: StateForm, value: OpaqueState): WrappedState => ({ kind: name, v: version, value })

/** What was stored, for the kind that reads it; `foreign` says whose it is when it is not of this kind and version. */
export function fromStored(form: StateForm, stored: StoredState): { value: OpaqueState } | { foreign: string } {
  const wrapped = isWrapped(stored)
  const of: StateForm = wrapped ? { name: stored.kind, version: stored.v } : BARE_FORM
  if (!isForm(form, of))
    return { foreign: `what is stored is of the kind ${of.name}, version ${of.version}, not ${form.name}, version ${form.version}` }
  return { value: wrapped ? stored.value : stored }
}

/** The state, whoever's it is. For texts that are not used before a comparison has shown whose they are. */
export const bareState = (stored: StoredState): OpaqueState => (isWrapped(stored) ? stored.value : stored)
