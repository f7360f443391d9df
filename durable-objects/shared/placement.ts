import { RockpoolError } from '../../protocol/errors.ts'
import { ofScript, oneOf, optional, readSettings, type BindingsOf, type ValuesOf } from '../../protocol/settings.ts'

/** The regions that Cloudflare takes as a hint for a new object (2026-11). */
export const LOCATIONS = ['wnam', 'enam', 'sam', 'weur', 'eeur', 'apac', 'oc', 'afr', 'me'] as const
/** Where objects may be bound to run and store (2026-11). */
export const JURISDICTIONS = ['eu', 'fedramp', 'us'] as const

export const PLACEMENT = {
  LOCATION: ofScript(optional(oneOf(LOCATIONS), 'the region that is nearest to the database; a hint, which counts when an object is made')),
  JURISDICTION: ofScript(
    optional(oneOf(JURISDICTIONS), 'where all objects must run and store. Another one names other objects, which begin empty'),
  ),
}

/** Null: not said. */
export interface Placement {
  location: (typeof LOCATIONS)[number] | null
  jurisdiction: (typeof JURISDICTIONS)[number] | null
}

export const PLACE_NOTICE =
  'LOCATION is not set: where the objects were made, or will be, is chance, and they stay there. Name the region that is nearest to the database'

/**
 * Where objects are made. A place that is not known must not count as none, because an object stays where it was made: throws ROCKPOOL_SETTINGS, naming
 * the setting.
 */
export function placementOf(settings: BindingsOf<typeof PLACEMENT>): Placement {
  const { values, problems } = readSettings(PLACEMENT, settings)
  if (problems.length === 0) return placement(values)
  throw new RockpoolError('ROCKPOOL_SETTINGS', `settings are missing or wrong: ${problems.join('; ')}`)
}

/** Null when the settings are wrong. */
export function knownPlacement(settings: BindingsOf<typeof PLACEMENT>): Placement | null {
  const { values, problems } = readSettings(PLACEMENT, settings)
  return problems.length === 0 ? placement(values) : null
}

const placement = ({ LOCATION, JURISDICTION }: ValuesOf<typeof PLACEMENT>): Placement => ({
  location: LOCATION ?? null,
  jurisdiction: JURISDICTION ?? null,
})
