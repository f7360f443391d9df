// How a setting is declared and read. A setting is a binding of the script: a string, or whatever else `[vars]` of
// wrangler.toml may hold.

/** What a value may be. `form` completes the sentence "must be …". */
export interface Check<V> {
  readonly form: string
  /** Returns undefined when the value is not valid. */
  read(given: unknown): V | undefined
}

/**
 * To whom the value belongs. `tenant`: each tenant has its own. `secret`: the same, but only the code that connects or
 * verifies gets it, each time it does so: see `TenantDirectory.secret`. `script`: all tenants of the script share one
 * value.
 */
export type Scope = 'tenant' | 'secret' | 'script'

export interface Setting<V> {
  readonly scope: Scope
  readonly check: Check<V>
  /** The value when the binding is missing or empty. */
  readonly preset: V | undefined
  readonly required: boolean
  /** One line of documentation, Markdown. */
  readonly about: string
}

export type Settings = Readonly<Record<string, Setting<unknown>>>

type ValueOf<S> = S extends Setting<infer V> ? V : never
/** The values that `readSettings` returns, by the names of their settings. */
export type ValuesOf<S extends Settings> = { [Name in keyof S]: ValueOf<S[Name]> }

export const setting = <V>(check: Check<V>, preset: V, about: string): Setting<V> & { preset: V } => ({
  scope: 'tenant',
  check,
  preset,
  required: false,
  about,
})
export const optional = <V>(check: Check<V>, about: string): Setting<V | undefined> => ({
  scope: 'tenant',
  check,
  preset: undefined,
  required: false,
  about,
})
export const required = <V>(check: Check<V>, about: string): Setting<V> => ({
  scope: 'tenant',
  check,
  preset: undefined,
  required: true,
  about,
})

/** Returns the setting with the scope `secret`, which its type has too. */
export const secret = <S extends Setting<unknown>>(declared: S): S & { scope: 'secret' } => ({
  ...declared,
  scope: 'secret',
})
/** Returns the setting with the scope `script`. */
export const ofScript = <S extends Setting<unknown>>(declared: S): S & { scope: 'script' } => ({
  ...declared,
  scope: 'script',
})

/**
 * Bindings of the script for these settings, unchecked: strings, or whatever else `[vars]` of wrangler.toml may hold.
 */
export type BindingsOf<S extends Settings> = { [Name in keyof S]?: string | number | object }

/** Returns whether a binding is missing or empty, so that its setting has the preset. */
export const isMissing = (given: unknown): boolean => given === undefined || given === null || given === ''

/**
 * Every problem begins with the name of its setting. It never contains the value, which may be a secret. The values are
 * usable only when there are no problems.
 */
export function readSettings<S extends Settings>(
  settings: S,
  bindings: Readonly<Record<string, unknown>>,
): { values: ValuesOf<S>; problems: string[] } {
  const values: Record<string, unknown> = {}
  const problems: string[] = []
  for (const [name, { check, preset, required }] of Object.entries(settings)) {
    const given = bindings[name]
    const read = isMissing(given) ? undefined : check.read(given)
    values[name] = read ?? preset
    if (isMissing(given) && required) problems.push(`${name}: is not set`)
    if (!isMissing(given) && read === undefined) problems.push(`${name}: must be ${check.form}`)
  }
  return { values: values as ValuesOf<S>, problems }
}

/** `most` may be Infinity. */
export const number = (least: number, most: number): Check<number> => ({
  form: `a number ${range(least, most)}`,
  read: (given) => within(given, least, most),
})

export const whole = (least: number, most: number): Check<number> => ({
  form: `a whole number ${range(least, most)}`,
  read(given) {
    const value = within(given, least, most)
    return Number.isSafeInteger(value) ? value : undefined
  },
})

export const oneOf = <const T extends string>(names: readonly T[]): Check<T> => ({
  form: `one of ${names.join(', ')}`,
  read: (given) => names.find((name) => name === given),
})

export const matching = (pattern: RegExp, form: string): Check<string> => ({
  form,
  read: (given) => (typeof given === 'string' && pattern.test(given) ? given : undefined),
})

/** Accepts a string or a table of `[vars]`. The code that uses it validates it. */
export const anything = (form: string): Check<string | number | object> => ({
  form,
  read: (given) =>
    typeof given === 'string' || typeof given === 'number' || (typeof given === 'object' && given) ? given : undefined,
})

const range = (least: number, most: number): string =>
  most === Infinity ? `of ${least} or more` : `from ${least} to ${most}`

function within(given: unknown, least: number, most: number): number | undefined {
  const text = typeof given === 'number' ? String(given) : typeof given === 'string' ? given.trim() : ''
  if (!/^\d+(\.\d+)?$/.test(text)) return undefined
  const value = Number(text)
  return value >= least && value <= most ? value : undefined
}
