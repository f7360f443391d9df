import { RockpoolError } from '../protocol/errors.ts'
import { postgresKind } from './postgres/postgres-source.ts'
import type { PostgresSettings } from './postgres/settings.ts'
import { socketOf } from './postgres/wire/socket.ts'
import type { SourceKind } from './source.ts'

/** The settings of a tenant that the kinds read. */
export type SourceSettings = PostgresSettings

/** The bindings through which a script reaches databases. */
export type SourceBindings = Parameters<typeof socketOf>[0]

/** All kinds. Another one is a folder beside `postgres/` and a line here. */
const kindsOf = (bindings: SourceBindings): readonly [SourceKind<SourceSettings>, ...SourceKind<SourceSettings>[]] => [
  postgresKind({ socket: socketOf(bindings) }),
]

/** Returns the kind of a database URL. Throws ROCKPOOL_SETTINGS when there is none for its scheme. */
export function kindOf(url: string, bindings: SourceBindings): SourceKind<SourceSettings> {
  const scheme = url.slice(0, Math.max(0, url.indexOf(':'))).toLowerCase()
  const kinds = kindsOf(bindings)
  const kind = kinds.find(({ schemes }) => schemes.includes(scheme))
  if (kind) return kind
  const known = kinds.flatMap(({ schemes }) => schemes).map((each) => `${each}://`)
  throw new RockpoolError('ROCKPOOL_SETTINGS', `DATABASE_URL: it must begin with ${known.join(' or ')}`)
}

/** The kind that is shown while the URL is not known. */
export const [FIRST_KIND] = kindsOf({})
