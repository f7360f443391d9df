import { RockpoolError } from '../protocol/errors.ts'
import { postgresKind } from './postgres/postgres-source.ts'
import type { PostgresSettings } from './postgres/settings.ts'
import { socketOf } from './postgres/wire/socket.ts'
import type { SourceKind } from './source.ts'

/** What the kinds read of a tenant's settings. */
export type SourceSettings = PostgresSettings

/** By what a script reaches databases. */
export type SourceBindings = Parameters<typeof socketOf>[0]

/** The kinds that there are. Another one is a folder beside `postgres/` and a line here. */
const kindsOf = (bindings: SourceBindings): readonly [SourceKind<SourceSettings>, ...SourceKind<SourceSettings>[]] => [
  postgresKind({ socket: socketOf(bindings) }),
]

/** The kind that a database URL is of. Throws ROCKPOOL_SETTINGS. */
export function kindOf(url: string, bindings: SourceBindings): SourceKind<SourceSettings> {
  const scheme = url.slice(0, Math.max(0, url.indexOf(':'))).toLowerCase()
  const kinds = kindsOf(bindings)
  const kind = kinds.find(({ schemes }) => schemes.includes(scheme))
  if (kind) return kind
  const known = kinds.flatMap(({ schemes }) => schemes).map((each) => `${each}://`)
  throw new RockpoolError('ROCKPOOL_SETTINGS', `DATABASE_URL: it must begin with ${known.join(' or ')}`)
}

/** Of what is shown while nobody knows the URL. */
export const [FIRST_KIND] = kindsOf({})
