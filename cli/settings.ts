import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { SETTINGS } from '../tenants/declarations.ts'
import { isMissing } from '../protocol/settings.ts'
import { closest } from '../protocol/closest.ts'
import { ROOT } from './bundle.ts'

/** The settings as the script will have them: strings, or whatever else `[vars]` may hold. */
export type Settings = Readonly<Record<string, unknown>>
export type Variables = Readonly<Record<string, string | undefined>>

/** Shorter names resemble too many names that have nothing to do with Rockpool. */
const SHORTEST_MISS = 5
const LONG_NAME = 8

/**
 * Returns the environment, over `[vars]` of the `wrangler.toml` of this folder or else of the project. An empty
 * environment variable counts as missing. The result also contains variables that are not settings.
 */
export async function readSettings(env: Variables): Promise<Settings> {
  const here = resolve('wrangler.toml')
  const { unstable_readConfig } = await import('wrangler')
  const { vars } = unstable_readConfig(
    { config: existsSync(here) ? here : join(ROOT, 'wrangler.toml') },
    { hideWarnings: true },
  )
  return { ...vars, ...Object.fromEntries(Object.entries(env).filter(([, value]) => !isMissing(value))) }
}

/** Returns only the settings, as bindings of the script. */
export const declared = (given: Settings): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(given).filter(([name, value]) => Object.hasOwn(SETTINGS, name) && !isMissing(value)),
  )

/** Returns a setting as text, or undefined when it is not given. */
export function textOf(given: Settings, name: string): string | undefined {
  const value = given[name]
  if (isMissing(value)) return undefined
  return typeof value === 'string' ? value : JSON.stringify(value)
}

/**
 * Returns names that are nearly that of a setting. Fewer edits count than elsewhere, because the environment has the
 * names of many programs.
 */
export function nearMisses(given: Settings): { name: string; meant: string }[] {
  const names = Object.keys(SETTINGS)
  return Object.keys(given).flatMap((name) => {
    if (Object.hasOwn(SETTINGS, name) || name.length < SHORTEST_MISS || !/^[A-Z][A-Z0-9_]*$/.test(name)) return []
    const meant = closest(name, names, name.length < LONG_NAME ? 1 : 2)
    return meant === null ? [] : [{ name, meant }]
  })
}
