import { z } from 'zod'
import { RockpoolError } from '../../protocol/errors.ts'
import { databaseOf, type Former, type OwnSetting, type TenantRecord } from './record.ts'

// Where a tenant was before. Its slot there is dropped when its database can be reached, for a slot that nobody reads
// fills the disk; until then the record names it.

/** Former databases of one tenant whose slots are still there. */
export const MAX_FORMER = 3

/** What a connection to it needs: it is stored encrypted, as the secrets of the tenant are. */
export const formerAccess = z.object({ url: z.string(), settings: z.record(z.string(), z.string()) })
export type FormerAccess = z.infer<typeof formerAccess>

/** Under this name it is stored among the secrets. */
export const formerField = (id: string): string => `FORMER.${id}`

const NEEDED: readonly OwnSetting[] = ['DATABASE_CA', 'PUBLICATION', 'OWN_PUBLICATION', 'SLOT']

/** A record with the URL of its database. */
export interface Place {
  record: TenantRecord
  url: string
}

/**
 * Returns the former places of a tenant after a change, and how the one that it leaves now is reached; null when it
 * stays where it is. One that it comes back to is none any more. Throws ROCKPOOL_TENANT_CONFLICT.
 */
export function formerAfter(
  before: Place,
  after: Place,
  { id, now }: { id: string; now: Date },
): { former: Former[]; left: FormerAccess | null } {
  const here = placeOf(after)
  const others = (before.record.former ?? []).filter((each) => !isSame(each, here))
  const there = placeOf(before)
  if (isSame(there, here)) return { former: others, left: null }
  if (others.length >= MAX_FORMER) {
    const names = others.map(({ database }) => database).join(', ')
    throw new RockpoolError(
      'ROCKPOOL_TENANT_CONFLICT',
      `the slots of ${others.length} former databases of the tenant could not be dropped yet: ${names}`,
    )
  }
  const { settings } = before.record
  const needed = NEEDED.flatMap((name) => (settings[name] === undefined ? [] : [[name, settings[name]] as const]))
  return {
    former: [...others, { id, ...there, since: now.toISOString() }],
    left: { url: before.url, settings: Object.fromEntries(needed) },
  }
}

const placeOf = ({ record, url }: Place): Pick<Former, 'database' | 'slot'> => ({
  database: databaseOf(url),
  slot: record.settings.SLOT ?? '',
})

const isSame = (a: Pick<Former, 'database' | 'slot'>, b: Pick<Former, 'database' | 'slot'>): boolean =>
  a.database === b.database && a.slot === b.slot
