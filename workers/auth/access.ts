import { jsonOrNull } from '../../protocol/json.ts'
import { RockpoolError } from '../../protocol/errors.ts'
import type { SettingBindings } from '../../tenants/bindings.ts'
import { TokenRules } from './keys.ts'
import { PERMISSIONS_FORM, permissionsOf, type Operator, type Permissions } from './permissions.ts'
import { listOf, urlOf, type AuthSettings } from './settings.ts'
import { unusable } from './static-key.ts'
import { verified, type VerifyOptions } from './token.ts'

// Cloudflare Access in front of /admin: it adds an assertion of who has signed in to each request, signed with a key of
// the team (Cloudflare, "Application token", 2026-11). Access turns its cookie into that header for any page, so the
// header says who asks and not that they want to: own-page.ts refuses foreign pages.

/** The only place where an assertion is looked for. The cookie of the same content is never read. */
export const ASSERTION_HEADER = 'cf-access-jwt-assertion'

const CERTS = 'cdn-cgi/access/certs'
const DOMAIN = 'cloudflareaccess.com'
/** Access's sessions last for a month at most. */
const MONTH_SECONDS = 31 * 86_400
/** Of OPERATOR tokens it is the same. */
const TOLERANCE_SECONDS = 60
const MAX_ROLES = 1_000
const GROUP = 'group:'
const SERVICE = 'service:'

/** How assertions are verified, and what those whom they name may do: see ACCESS_ROLES. */
export interface AccessSettings {
  auth: AuthSettings
  roles: ReadonlyMap<string, Permissions>
}

/** Returns null when Access is not used. Throws PSYNC_S2201, which names the setting. */
export function accessSettings({
  ACCESS_TEAM,
  ACCESS_AUD,
  ACCESS_ROLES,
  JWT_AUDIENCE,
}: SettingBindings): AccessSettings | null {
  const team = textOf(ACCESS_TEAM)
  const audiences = listOf(textOf(ACCESS_AUD))
  if (team === '' && audiences.length === 0 && textOf(ACCESS_ROLES) === '') return null
  if (team === '') throw unusable('ACCESS_TEAM is not set: name the team of Cloudflare Access')
  if (audiences.length === 0) throw unusable('ACCESS_AUD is not set: name the AUD tag of the application in Access')
  const shared = listOf(textOf(JWT_AUDIENCE)).find((each) => audiences.includes(each))
  if (shared !== undefined) throw unusable(`ACCESS_AUD: ${JSON.stringify(shared)} is an audience of users as well`)
  const { origin } = urlOf('ACCESS_TEAM', addressOf(team))
  const policy = { audiences, maxLifetimeSeconds: MONTH_SECONDS, issuers: [origin] }
  return {
    auth: {
      purpose: 'access',
      toleranceSeconds: TOLERANCE_SECONDS,
      keys: [],
      remote: [{ url: new URL(CERTS, `${origin}/`), policy }],
    },
    roles: rolesOf(ACCESS_ROLES),
  }
}

/** `acme`, `acme.cloudflareaccess.com`, or an address. */
function addressOf(team: string): string {
  if (team.includes('://')) return team
  return `https://${team.includes('.') ? team : `${team}.${DOMAIN}`}`
}

function rolesOf(setting: unknown): ReadonlyMap<string, Permissions> {
  const given = typeof setting === 'string' ? jsonOrNull(setting) : setting
  if (typeof given !== 'object' || given === null || Array.isArray(given))
    throw unusable('ACCESS_ROLES is not JSON: {"ann@example.com": ["read", "deploy:acme"], "group:NAME": ["read"]}')
  const entries = Object.entries(given)
  if (entries.length > MAX_ROLES) throw unusable(`ACCESS_ROLES has ${entries.length} members; ${MAX_ROLES} are allowed`)
  return new Map(
    entries.map(([who, permissions]: [string, unknown]) => {
      const isNamed = who.startsWith(GROUP) || who.startsWith(SERVICE)
      if (!isNamed && !who.includes('@'))
        throw unusable(`ACCESS_ROLES: ${JSON.stringify(who)} is no e-mail address, nor group:NAME or service:CLIENT_ID`)
      const may = permissionsOf(permissions)
      if (may === null) throw unusable(`ACCESS_ROLES: of ${JSON.stringify(who)} it must be ${PERMISSIONS_FORM}`)
      return [who, may] as const
    }),
  )
}

/** How one set of settings is verified; an isolate has one, unless they change. */
let known: { text: string; settings: AccessSettings; rules: TokenRules } | null = null

function rulesOf(bindings: SettingBindings): Exclude<typeof known, null> | null {
  const { ACCESS_TEAM, ACCESS_AUD, ACCESS_ROLES, JWT_AUDIENCE } = bindings
  const text = JSON.stringify([ACCESS_TEAM, ACCESS_AUD, ACCESS_ROLES, JWT_AUDIENCE])
  if (known?.text === text) return known
  const settings = accessSettings(bindings)
  if (settings === null) return null
  known = { text, settings, rules: new TokenRules(settings.auth) }
  return known
}

/** Returns whether operators sign in by Cloudflare Access. Throws PSYNC_S2201. */
export const hasAccess = (bindings: SettingBindings): boolean => rulesOf(bindings) !== null

/**
 * Verifies an assertion of Access. Whoever has no role is an operator who may do nothing. Null: Access is not used.
 * Throws PSYNC_S2101 to S2105, and S2204 when the keys of the team cannot be fetched.
 */
export async function accessOperator(
  bindings: SettingBindings,
  assertion: string,
  options: VerifyOptions = {},
): Promise<Operator | null> {
  const access = rulesOf(bindings)
  if (access === null) return null
  const { payload } = await verified(assertion, access.rules, options.now ?? new Date(), options)
  // The team's key signs other tokens, too, such as that of the session with the team itself (`org`).
  if (payload.type !== 'app') throw malformed('the claim "type" of the assertion must be "app"')
  const { by, names } = namesOf(payload)
  const roles = names.flatMap((name) => access.settings.roles.get(name) ?? [])
  return { by, key: 'access', may: (permission, scope) => roles.some((may) => may(permission, scope)) }
}

/** Whom an assertion names: the names in ACCESS_ROLES. Who signs in has an e-mail address, and a service token none. */
function namesOf(payload: Readonly<Record<string, unknown>>): { by: string; names: string[] } {
  const { email, common_name: service, custom } = payload
  const groups = [payload, Object(custom) as Record<string, unknown>].flatMap((each) => textsOf(each.groups))
  const ofGroups = groups.map((group) => `${GROUP}${group}`)
  if (typeof email === 'string' && email.includes('@')) {
    // An address must not pass for a group or a service.
    const isAddress = !email.startsWith(GROUP) && !email.startsWith(SERVICE)
    return { by: email, names: isAddress ? [email, ...ofGroups] : ofGroups }
  }
  if (typeof service !== 'string' || service === '')
    throw malformed('the assertion names neither an e-mail address nor a service token')
  return { by: `${SERVICE}${service}`, names: [`${SERVICE}${service}`] }
}

const textsOf = (value: unknown): string[] =>
  (Array.isArray(value) ? value : [value]).filter((each): each is string => typeof each === 'string')

/** [vars] of wrangler.toml may hold something else than text. */
const textOf = (value: unknown): string => (typeof value === 'string' ? value.trim() : '')

const malformed = (message: string) => new RockpoolError('PSYNC_S2101', message)
