import { z } from 'zod'
import { RockpoolError } from '../../protocol/errors.ts'
import type { SettingBindings } from '../setting-bindings.ts'

/** The regions that Cloudflare takes as a hint for a new object (2026-11). */
export const LOCATIONS = ['wnam', 'enam', 'sam', 'weur', 'eeur', 'apac', 'oc', 'afr', 'me'] as const
/** Where objects may be bound to run and store (2026-11). */
export const JURISDICTIONS = ['eu', 'fedramp', 'us'] as const

export const location = z.enum(LOCATIONS, `must be one of ${LOCATIONS.join(', ')}`).optional()
export const jurisdiction = z.enum(JURISDICTIONS, `must be one of ${JURISDICTIONS.join(', ')}`).optional()

/** Null: not said. */
export interface Placement {
  location: (typeof LOCATIONS)[number] | null
  jurisdiction: (typeof JURISDICTIONS)[number] | null
}

const shape = z.object({ LOCATION: location, JURISDICTION: jurisdiction })

export const PLACE_NOTICE =
  'LOCATION is not set: where the objects were made, or will be, is chance, and they stay there. Name the region that is nearest to the database'

/**
 * Where objects are made. A place that is not known must not count as none, because an object stays where it was made: throws ROCKPOOL_SETTINGS, naming
 * the setting.
 */
export function placementOf({ LOCATION, JURISDICTION }: SettingBindings): Placement {
  const parsed = parse({ LOCATION, JURISDICTION })
  if (parsed.success) return placement(parsed.data)
  const wrong = parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`)
  throw new RockpoolError('ROCKPOOL_SETTINGS', `settings are missing or wrong: ${wrong.join('; ')}`)
}

/** Null when the settings are wrong. */
export function knownPlacement(settings: SettingBindings): Placement | null {
  const { data } = parse(settings)
  return data ? placement(data) : null
}

const parse = ({ LOCATION, JURISDICTION }: SettingBindings) =>
  shape.safeParse({ LOCATION: LOCATION || undefined, JURISDICTION: JURISDICTION || undefined })

const placement = ({ LOCATION, JURISDICTION }: z.infer<typeof shape>): Placement => ({
  location: LOCATION ?? null,
  jurisdiction: JURISDICTION ?? null,
})
