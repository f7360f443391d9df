import { Hono } from 'hono'
import { censusOf } from '../../../durable-objects/census/calls.ts'
import { joined } from '../../../durable-objects/census/kept.ts'
import type { Environment } from '../../../durable-objects/environment.ts'
import { relayStub } from '../../../durable-objects/shared/namespaces.ts'
import { answered } from '../../../durable-objects/shared/retry.ts'
import type { CensusLook, Clients } from '../../../protocol/messages/census.ts'
import { relayName } from '../../../protocol/names.ts'
import { MESSAGE_VERSION } from '../../../protocol/versions.ts'
import type { Tenant } from '../../../tenants/tenant.ts'
import type { OperatorContext } from './operator.ts'

/** For so long an answer of the relays is shown again. */
const FRESH_MS = 10_000
/** How long each relay, and the Census, has to answer. */
const ANSWER_MS = 1_000

/** `/admin/clients`: who is connected now. */
export const clients = new Hono<OperatorContext>()

clients.get('/', async (c) => {
  const { shown, keep } = await clientsOf(c.env, c.var.tenant)
  c.executionCtx.waitUntil(keep)
  return c.json({ data: shown })
})

/**
 * Asks the relays of a tenant, unless the Census has an answer of theirs from the last seconds. `keep` resolves when
 * the Census has the new one. Nobody but relays is asked: a tenant that sleeps goes on sleeping.
 */
async function clientsOf(env: Environment, tenant: Tenant): Promise<{ shown: Clients; keep: Promise<unknown> }> {
  const census = censusOf(env, tenant, ANSWER_MS)
  const look: CensusLook = (await census?.look().catch(() => null)) ?? { clients: null, relays: {} }
  const age = look.clients === null ? NaN : Date.now() - Date.parse(look.clients.at)
  if (look.clients !== null && age < FRESH_MS) return { shown: look.clients, keep: Promise.resolve() }
  const own = Array.from({ length: tenant.streams.relays }, (_, n) => relayName(tenant.name, 'main', n))
  // Those of a larger number of RELAYS may still have streams.
  const former = Object.keys(look.relays).filter((name) => (look.relays[name]?.streams ?? 0) > 0)
  const names = [...new Set([...own, ...former])]
  const answers = await Promise.all(
    names.map((name) =>
      answered(async () => relayStub(env, tenant, name).clients({ v: MESSAGE_VERSION }), ANSWER_MS).catch(() => null),
    ),
  )
  const silent = names
    .filter((_, i) => answers[i] === null)
    .map((relay) => ({ relay, streams: look.relays[relay]?.streams ?? null, at: look.relays[relay]?.at ?? null }))
  const shown = joined(
    answers.filter((each) => each !== null),
    silent,
    new Date(),
  )
  return { shown, keep: census?.keep(shown).catch(() => {}) ?? Promise.resolve() }
}
