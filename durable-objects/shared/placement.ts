import { RockpoolError } from '../../protocol/errors.ts'
import { ofScript, oneOf, optional, readSettings, type BindingsOf, type ValuesOf } from '../../protocol/settings.ts'

/** The regions that Cloudflare accepts as a hint for a new object (2026-11). */
export const LOCATIONS = ['wnam', 'enam', 'sam', 'weur', 'eeur', 'apac', 'oc', 'afr', 'me'] as const
/** The jurisdictions in which objects can be forced to run and store (2026-11). */
export const JURISDICTIONS = ['eu', 'fedramp', 'us'] as const

export const PLACEMENT = {
  LOCATION: ofScript(
    optional(oneOf(LOCATIONS), 'the region nearest to the database; a hint that counts when an object is created'),
  ),
  JURISDICTION: ofScript(
    optional(
      oneOf(JURISDICTIONS),
      'where all objects must run and store. Changing it names other objects, which begin empty',
    ),
  ),
}

/** Null means that the setting is missing. */
export interface Placement {
  location: (typeof LOCATIONS)[number] | null
  jurisdiction: (typeof JURISDICTIONS)[number] | null
}

export const PLACE_NOTICE =
  'LOCATION is not set: chance decides where objects are created, and they stay there. Set it to the region nearest to the database'

/**
 * Returns where objects are created. Throws ROCKPOOL_SETTINGS, which names the setting, for an unknown place: treating
 * it as missing would create objects anywhere, and an object stays where it was created.
 */
export function placementOf(settings: BindingsOf<typeof PLACEMENT>): Placement {
  const { values, problems } = readSettings(PLACEMENT, settings)
  if (problems.length === 0) return placement(values)
  throw new RockpoolError('ROCKPOOL_SETTINGS', `settings are missing or wrong: ${problems.join('; ')}`)
}

/** Returns where objects are created, or null when the settings are wrong. */
export function knownPlacement(settings: BindingsOf<typeof PLACEMENT>): Placement | null {
  const { values, problems } = readSettings(PLACEMENT, settings)
  return problems.length === 0 ? placement(values) : null
}

const placement = ({ LOCATION, JURISDICTION }: ValuesOf<typeof PLACEMENT>): Placement => ({
  location: LOCATION ?? null,
  jurisdiction: JURISDICTION ?? null,
})
