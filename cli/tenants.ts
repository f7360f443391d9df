import type { NamedTenant, Spent, TenantJob } from '../protocol/messages/directory.ts'
import { TENANT_NAME } from '../protocol/names.ts'
import type { TenantRecord } from '../tenants/stored/record.ts'
import { agreed } from './agreed.ts'
import { printable } from './frame.ts'
import { DEV_URL, OperatorClient, operatorTarget, type AskOptions } from './operator.ts'
import { Refused } from './refused.ts'
import { dataFolder, parse } from './options.ts'
import { UsageError } from './problem.ts'
import { count, meter, type Terminal } from './progress.ts'
import { newDatabase } from './new-database.ts'
import { revocations, revoke, unrevoke } from './revoke.ts'
import { knownSecret } from './secret.ts'
import type { TenantCall as Call } from './tenant-call.ts'
import { tenantChange } from './tenant-change.ts'

type Tenant = TenantRecord & { job: TenantJob | null }
const VERBS = [
  'list',
  'create',
  'show',
  'set',
  'suspend',
  'resume',
  'revoke',
  'unrevoke',
  'revocations',
  'delete',
  'adopt',
  'rotate',
  'spending',
] as const
type Verb = (typeof VERBS)[number]

const POLL_MS = 1_000
/** With one of these a tenant has keys for its tokens. */
const OF_KEYS: ReadonlySet<string> = new Set([
  'JWT_SECRET',
  'JWT_KEYS',
  'JWKS_URL',
  'SUPABASE_URL',
  'SUPABASE_JWT_SECRET',
])

/**
 * `rockpool tenants VERB [NAME]`. Returns false when it was refused, after the reason was printed. Throws UsageError.
 */
export async function tenants(args: readonly string[], terminal: Terminal): Promise<boolean> {
  const parsed = parse('tenants', args)
  const [said = '', name = '', ...more] = parsed.positionals
  const target = operatorTarget(parsed, process.env)
  const verb = VERBS.find((each) => each === said)
  if (verb === undefined) throw new UsageError(`tenants ${said}: say one of ${VERBS.join(', ')}`)
  const hasNone = verb === 'list' || verb === 'adopt' || verb === 'rotate' || verb === 'spending'
  // Without a name: of the tenant at the address, such as the only one of a deployment.
  const mayHaveNone = verb === 'revoke' || verb === 'unrevoke' || verb === 'revocations'
  if (more.length > 0 || (hasNone && name !== ''))
    throw new UsageError(`tenants ${verb} takes ${hasNone ? 'no name' : 'one name'}`)
  if (!hasNone && !(mayHaveNone && name === '') && !TENANT_NAME.test(name))
    throw new UsageError(`tenants ${verb} needs the name of a tenant: 1 to 63 of a to z, 0 to 9 and -`)
  const isJson = parsed.flag('json')
  const say = (text: string) => {
    if (!isJson) terminal.out(`${text}\n`)
  }
  try {
    const client = await OperatorClient.of({ ...target, jwtSecret: undefined, jwtAudience: undefined })
    const answer = await DOES[verb]({ ...parsed, client, url: target.url, name, terminal, say })
    if (isJson) terminal.out(`${JSON.stringify({ ok: answer !== null, ...answer }, null, 2)}\n`)
    return answer !== null
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    terminal.out(error.output(isJson, refusalText(error)))
    return false
  }
}

const refusalText = ({ code, text }: Refused): string =>
  code === 'PSYNC_S2002'
    ? `${code}: the Rockpool there has one tenant: set TENANT_KEYS and OPERATOR_KEYS to have several`
    : text

/** What each verb does. The answer is what `--json` prints; null: somebody said no. */
const DOES: Record<Verb, (call: Call) => Promise<object | null>> = {
  async list({ client, say }) {
    const all: NamedTenant[] = []
    for (let after: string | null = ''; after !== null;) {
      const page: { tenants: NamedTenant[]; next: string | null } = await client.ask(
        'GET',
        `tenants?limit=1000&after=${after}`,
      )
      all.push(...page.tenants)
      after = page.next
    }
    for (const { name, state, version, hosts } of all)
      say(
        `${name.padEnd(24)} ${state.padEnd(10)} ${`v${version}`.padEnd(6)} ${hosts.map(printable).join(' ')}`.trimEnd(),
      )
    say(count(all.length, 'tenant', 'tenants'))
    return { tenants: all }
  },

  async create(call) {
    const { client, url, name, flag, text } = call
    const change = await tenantChange(call, process.env, { isNew: true, input: process.stdin })
    const isLocal = flag('new-database')
    if (isLocal) {
      if (text('database-url') !== undefined) throw new UsageError('--new-database and --database-url: say one of them')
      const own = { DATABASE_URL: await newDatabase(text('data'), name) }
      const hasKeys = Object.keys({ ...change.secrets, ...change.settings }).some((each) => OF_KEYS.has(each))
      const keys = hasKeys ? {} : { JWT_SECRET: await knownSecret(dataFolder(text('data'))) }
      change.secrets = { ...change.secrets, ...keys, ...own }
    }
    const query = flag('reuse-name') ? '?reuse_name=1' : ''
    const tenant = await client.ask<Tenant>('PUT', `tenants/${name}${query}`, JSON.stringify(change), {
      headers: { 'if-none-match': '*' },
    })
    const answer = shown(call, tenant)
    if (isLocal) call.say(nextOf(call, url))
    return answer
  },

  show: async (call) => shown(call, await read(call)),

  async set(call) {
    const change = await tenantChange(call, process.env, { isNew: false, input: process.stdin })
    const { version } = await read(call)
    return shown(
      call,
      await call.client.ask<Tenant>('PATCH', `tenants/${call.name}`, JSON.stringify(change), ifMatch(version)),
    )
  },

  suspend: (call) => inState(call, 'suspend', 'Suspend'),
  resume: (call) => inState(call, 'resume', null),
  revoke,
  unrevoke,
  revocations,

  async delete(call) {
    const { client, name, flag } = call
    const tenant = await read(call)
    call.say(
      `${name}: its slot and publication, and the storage of all its buckets, are deleted. Its database stays; its clients keep what they have`,
    )
    if (!(await confirmed(call, `Delete ${name}?`, 'deletes it'))) return null
    await client.ask(
      'DELETE',
      `tenants/${name}`,
      JSON.stringify({ keepSource: flag('keep-source') }),
      ifMatch(tenant.version),
    )
    await gone(call)
    call.say(`${name} is deleted`)
    return { deleted: name }
  },

  adopt: async (call) => shown(call, await call.client.ask<Tenant>('POST', 'adopt')),

  async rotate({ client, say }) {
    let rekeyed = 0
    for (let after: string | null = ''; after !== null;) {
      const step: { rekeyed: number; next: string | null } = await client.ask(
        'POST',
        'rekey',
        JSON.stringify({ after }),
      )
      rekeyed += step.rekeyed
      after = step.next
    }
    say(
      `the secrets of ${count(rekeyed, 'tenant', 'tenants')} are under the first of TENANT_KEYS now; the others were already`,
    )
    return { rekeyed }
  },

  async spending({ client, say }) {
    const spent = await client.ask<Spent>('GET', 'spending?limit=1000')
    const { day, budget, dollars, tenants: used } = spent
    say(
      budget === null
        ? 'BUDGET_DOLLARS_DAY is not set: nothing is added up'
        : `${day} (UTC): ${money(dollars)} of ${money(budget)}, ${Math.round((100 * dollars) / budget)} %`,
    )
    for (const { name, dollars, lately, paused } of used)
      say(`  ${name.padEnd(24)} ${money(dollars)}, lately ${money(lately)}${paused ? ', paused' : ''}`)
    return { spent }
  },
}

const money = (dollars: number): string => `$${dollars.toFixed(dollars < 1 ? 4 : 2)}`

/** What a developer types next, for a tenant whose database is empty. */
function nextOf({ name, text }: Call, url: string): string {
  const data = text('data') === undefined ? '' : ` --data ${text('data')}`
  const at = url === DEV_URL ? '' : ` ${url}`
  return [
    `Its clients connect to ${url}/t/${name}`,
    `  npx rockpool sql --tenant ${name}${data} "CREATE TABLE …"`,
    `  npx rockpool token --tenant ${name}${data} --sub alice`,
    `  npx rockpool status${at} --tenant ${name}${data}`,
  ].join('\n')
}

const read = ({ client, name }: Call): Promise<Tenant> => client.ask<Tenant>('GET', `tenants/${name}`)
const ifMatch = (version: number): AskOptions => ({ headers: { 'if-match': `"${version}"` } })

async function inState(call: Call, verb: 'suspend' | 'resume', question: string | null): Promise<object | null> {
  if (question !== null && !(await confirmed(call, `${question} ${call.name}?`, `${verb}s it`))) return null
  return shown(call, await call.client.ask<Tenant>('POST', `tenants/${call.name}/${verb}`))
}

const confirmed = ({ flag, text, terminal }: Call, question: string, yesDoes: string): Promise<boolean> =>
  agreed(question, yesDoes, { yes: flag('yes'), json: flag('json'), token: text('token') }, terminal)

/** Resolves when a tenant that is being deleted is gone. Its progress is shown. */
async function gone(call: Call): Promise<void> {
  const show = call.flag('json') ? () => {} : meter(call.terminal)
  for (;;) {
    const tenant = await read(call).catch((error: unknown) => {
      if (error instanceof Refused && error.code === 'ROCKPOOL_TENANT') return null
      throw error
    })
    show(tenant?.job ? `total ${jobText(tenant.job)}` : null)
    if (tenant === null) return
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
}

function jobText({ phase, removed, left, error }: TenantJob): string {
  const done = `${phase}: ${count(removed, 'bucket', 'buckets')} removed${left === null || left === 0 ? '' : `, ${left.toLocaleString('en')} left`}`
  return error === null ? done : `${done}; ${printable(error)}: it is tried again`
}

function shown({ say }: Call, tenant: Tenant): { tenant: Tenant } {
  const { name, state, version, settings, secrets, hosts, tenantClaim, limits = {}, place, former = [], job } = tenant
  say(`${name}: ${state}, version ${version}`)
  for (const [setting, value] of Object.entries(settings))
    say(`  ${setting.padEnd(20)} ${printable(value.split('\n')[0] ?? '')}`)
  if (secrets.length > 0) say(`  ${'secrets'.padEnd(20)} ${secrets.join(', ')}`)
  if (hosts.length > 0) say(`  ${'hosts'.padEnd(20)} ${hosts.map(printable).join(', ')}`)
  if (tenantClaim !== null) say(`  ${'tenant claim'.padEnd(20)} ${printable(tenantClaim)}`)
  for (const [limit, { warn, refuse }] of Object.entries(limits))
    say(`  ${limit.padEnd(20)} told at ${warn ?? 'none'}, refused at ${refuse ?? 'none'}`)
  if (place)
    say(`  ${'place'.padEnd(20)} ${place.location ?? 'anywhere'}, jurisdiction ${place.jurisdiction ?? 'none'}`)
  for (const { database, slot } of former)
    say(`  ${'left behind'.padEnd(20)} the slot ${slot} in ${printable(database)}: it is tried again`)
  if (job) say(`  ${job.state}: ${jobText(job)}`)
  return { tenant }
}
