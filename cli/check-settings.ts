import { parseSourceUrl } from '../sources/postgres/index.ts'
import { RockpoolError } from '../protocol/errors.ts'
import type { SettingBindings } from '../tenants/bindings.ts'
import { tenantOfBindings } from '../tenants/from-bindings.ts'
import { accessSettings } from '../workers/auth/access.ts'
import { authSettings, operatorSettings } from '../workers/auth/settings.ts'
import { checkAuthorities } from './check-ca.ts'
import type { SettingFinding } from './setting-finding.ts'
import { nearMisses, type Settings } from './settings.ts'

export { readSettings } from './settings.ts'

type SettingCheck = (settings: Settings) => SettingFinding[] | Promise<SettingFinding[]>

/**
 * Each check gets all settings, and names those that are wrong. A new setting needs a line here, unless one of the
 * functions below validates it.
 */
const CHECKS: readonly SettingCheck[] = [databaseUrl, checkAuthorities, refusedByTheScript, unknownNames, place]

export async function checkSettings(settings: Settings): Promise<SettingFinding[]> {
  const found: SettingFinding[] = []
  for (const check of CHECKS) found.push(...(await check(settings)))
  return found
}

/** Checks the URL, which is a secret and so is known here only when it is given. */
function databaseUrl({ DATABASE_URL }: Settings): SettingFinding[] {
  if (typeof DATABASE_URL !== 'string') return []
  const mode = /[?&]sslmode=([^&]*)/i.exec(DATABASE_URL)?.[1]
  if (mode === 'prefer' || mode === 'allow') {
    return [
      error(
        'ROCKPOOL_SETTINGS',
        `DATABASE_URL: sslmode=${mode} lets an attacker in between turn TLS off, and is refused: remove it, which means verify-full, or write sslmode=disable`,
      ),
    ]
  }
  try {
    const { sslmode, hosts, notes } = parseSourceUrl(DATABASE_URL)
    const local = hosts.every(({ host }) => /^(localhost|127(\.\d+){3}|::1)$/i.test(host))
    const plain =
      sslmode === 'disable' && !local ? ['sslmode=disable: passwords and rows go over the network in plain text'] : []
    return [...plain, ...notes].map((note) => warning('database-url', `DATABASE_URL: ${note}`))
  } catch (problem) {
    return [refusal(problem)]
  }
}

/** These are the script's own functions, so that the findings are what the script would say. */
function refusedByTheScript(settings: Settings): SettingFinding[] {
  // Secrets are set with `wrangler secret put`, and are not seen here.
  const bindings: SettingBindings = { ...UNSEEN, ...settings, DATABASE_URL: UNSEEN.DATABASE_URL, SYNC_CONFIG: 'unseen' }
  const tenant = tenantOfBindings('unseen', bindings, '')
  const reasons = [
    () => tenant.replication,
    () => tenant.compaction,
    () => tenant.streams,
    () => authSettings(bindings),
    () => operatorSettings(bindings),
    () => accessSettings(bindings),
  ].flatMap((read) => {
    try {
      read()
      return []
    } catch (problem) {
      const { code, message } = refusal(problem)
      return message
        .replace(/^settings are .*?: /, '')
        .split('; ')
        .map((each) => error(code, each))
    }
  })
  // Limits are checked in two places.
  return reasons.filter(({ message }, i) => reasons.findIndex((each) => each.message === message) === i)
}

const UNSEEN = { DATABASE_URL: 'postgres://unseen@localhost/unseen', JWT_SECRET: 'A'.repeat(43) }

/**
 * Finds names that are nearly a setting's. The environment may contain anything, so other unknown names are not
 * mistakes.
 */
function unknownNames(settings: Settings): SettingFinding[] {
  return nearMisses(settings).map(({ name, meant }) =>
    warning('setting-unknown', `${name} is not a setting and has no effect. Did you mean ${meant}?`),
  )
}

function place({ LOCATION }: Settings): SettingFinding[] {
  if (LOCATION !== undefined && LOCATION !== '') return []
  return [
    warning(
      'location',
      'LOCATION is not set: chance decides where objects are created, and they stay there. Set it to the region nearest to the database',
    ),
  ]
}

const warning = (code: string, message: string): SettingFinding => ({ level: 'warning', code, message })
const error = (code: string, message: string): SettingFinding => ({ level: 'error', code, message })

function refusal(problem: unknown): SettingFinding {
  if (problem instanceof RockpoolError) return error(problem.code, problem.message)
  throw problem
}
