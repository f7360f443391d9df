import type { Edge } from '../support/edge.ts'
import type { Proxy } from '../random/proxy.ts'
import type { Random } from '../support/random.ts'
import type { TestPostgres } from '../support/postgres.ts'
import type { BankClient } from './clients.ts'

type Kind =
  'workerd killed' | 'source cut' | 'source hangs' | 'walsender ended' | 'client cut' | 'client away' | 'pause'

/** So many of each in a thousand transfers. */
const PER_THOUSAND: Record<Kind, number> = {
  'workerd killed': 4,
  'source cut': 6,
  'source hangs': 4,
  'walsender ended': 3,
  'client cut': 70,
  'client away': 30,
  // Objects that nobody calls for ten seconds are evicted, relays with their sockets open.
  pause: 1,
}
const PAUSE_MS = 12_000

export interface World {
  edge: Edge
  proxy: Proxy
  postgres: TestPostgres
  clients: readonly BankClient[]
  random: Random
  /** Nothing is transferred meanwhile. */
  pause(milliseconds: number): Promise<void>
}

/** What goes wrong while money moves, at places that a seed chooses. */
export class Chaos {
  readonly counts: Record<Kind, number>
  /** Now, for people. */
  doing = ''
  readonly #world: World
  readonly #plan: { at: number; kind: Kind }[] = []
  readonly #away: { client: BankClient; until: number }[] = []

  constructor(world: World, transfers: number) {
    this.#world = world
    this.counts = {
      'workerd killed': 0,
      'source cut': 0,
      'source hangs': 0,
      'walsender ended': 0,
      'client cut': 0,
      'client away': 0,
      pause: 0,
    }
    for (const [kind, number] of Object.entries(PER_THOUSAND) as [Kind, number][]) {
      const wanted = Math.max(1, Math.round((number * transfers) / 1_000))
      for (let n = 0; n < wanted; n++) this.#plan.push({ at: world.random.int(transfers), kind })
    }
    this.#plan.sort((a, b) => a.at - b.at)
  }

  /** Nothing more goes wrong. On a slow machine that is long after the last transfer that it was planned for. */
  get done(): boolean {
    return this.#plan.length === 0
  }

  /** Does what is due after so many transfers. */
  async after(transfers: number): Promise<void> {
    for (const away of [...this.#away]) {
      if (away.until > transfers) continue
      this.#away.splice(this.#away.indexOf(away), 1)
      this.doing = 'a client comes back'
      await away.client.connect()
    }
    for (let next = this.#plan[0]; next && next.at <= transfers; next = this.#plan[0]) {
      this.#plan.shift()
      this.counts[next.kind]++
      this.doing = next.kind
      await this.#do(next.kind, transfers)
    }
  }

  /** Everybody comes back, and nothing goes wrong any more. */
  async end(): Promise<void> {
    this.#plan.length = 0
    for (const { client } of this.#away.splice(0)) await client.connect()
  }

  async #do(kind: Kind, transfers: number): Promise<void> {
    const { edge, proxy, postgres, random, clients, pause } = this.#world
    switch (kind) {
      case 'workerd killed':
        return edge.kill9()
      case 'source cut':
        return proxy.cut()
      case 'source hangs':
        return proxy.hang(200 + random.int(400))
      case 'walsender ended':
        await postgres.sql()`select pg_terminate_backend(active_pid) from pg_replication_slots where active`
        return
      case 'pause':
        return pause(PAUSE_MS)
      case 'client cut':
      case 'client away': {
        const here = clients.filter((client) => this.#away.every((away) => away.client !== client))
        if (here.length === 0) return
        const client = random.pick(here)
        await client.disconnect()
        if (kind === 'client cut') await client.connect()
        else this.#away.push({ client, until: transfers + 20 + random.int(100) })
      }
    }
  }
}
