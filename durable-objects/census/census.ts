import { createDurable } from 'itty-durable'
import { RockpoolError } from '../../protocol/errors.ts'
import {
  censusReport,
  clientsShape,
  type CensusCalls,
  type CensusLook,
  type CensusReport,
  type Clients,
} from '../../protocol/messages/census.ts'
import { MAX_RELAYS } from './kept.ts'

/** What is used of itty-durable: members of the object are stored as one value, and loaded before the first call. */
interface Soft {
  loadFromStorage(): Promise<void>
  persist(): Promise<void>
  /** Deletes what is stored. */
  destroy(): Promise<unknown>
}
type SoftClass = new (state: DurableObjectState, env: object) => Soft

/** Each call by its path, with the shape of its body. Nothing else is answered. */
const CALLS: { [Name in keyof CensusCalls]: (census: CensusCalls, body: unknown) => Promise<unknown> } = {
  look: (census) => census.look(),
  keep: (census, body) => census.keep(clientsShape.parse(body)),
  report: (census, body) => census.report(censusReport.parse(body)),
  erase: (census) => census.erase(),
}

/**
 * Who is connected to a tenant, as its relays last said: soft state on which nothing depends, in an object that wakes
 * nobody. The router of itty-durable is never used, because it lets any caller overwrite any member (`/do/set/…`) and
 * call any method.
 */
export class Census extends (createDurable() as unknown as SoftClass) implements CensusCalls {
  clients: Clients | null = null
  relays: CensusLook['relays'] = {}

  /** The bindings are withheld: itty-durable would copy them into its state. */
  constructor(state: DurableObjectState) {
    super(state, {})
  }

  async fetch(request: Request): Promise<Response> {
    const name = new URL(request.url).pathname.slice(1)
    if (request.method !== 'POST' || !isCall(name))
      return answer(new RockpoolError('PSYNC_S2002', 'there is no such call'))
    try {
      const body: unknown = await request.json()
      await this.loadFromStorage()
      return Response.json({ data: (await CALLS[name](this, body)) ?? null })
    } catch (error) {
      console.error(`the census could not ${name}`, error)
      return answer(new RockpoolError('ROCKPOOL_INTERNAL', 'the call failed'))
    }
  }

  async look(): Promise<CensusLook> {
    return { clients: this.clients, relays: this.relays }
  }

  async keep(clients: Clients): Promise<void> {
    this.clients = clients
    await this.persist()
  }

  async report({ relay, streams }: CensusReport): Promise<void> {
    const others = Object.entries(this.relays).filter(([name]) => name !== relay)
    const at = new Date().toISOString()
    this.relays = Object.fromEntries([...others, [relay, { streams, at }] as const].slice(-MAX_RELAYS))
    await this.persist()
  }

  async erase(): Promise<void> {
    this.clients = null
    this.relays = {}
    await this.destroy()
  }
}

const isCall = (name: string): name is keyof CensusCalls => Object.hasOwn(CALLS, name)

const answer = (error: RockpoolError): Response => Response.json(error.body(), { status: error.status })
