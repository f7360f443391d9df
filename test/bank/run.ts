import { FAULT_POINTS } from '../../durable-objects/shared/fault-points.ts'
import { startEdge, type Edge, type EdgeSettings } from '../support/edge.ts'
import type { Follower } from '../support/follower.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import { Proxy } from '../random/proxy.ts'
import { Random } from '../support/random.ts'
import { statusOf } from '../support/status.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until, within } from '../support/support.ts'
import { bson, native, ndjson, rsocket } from '../wire/transports.ts'
import { Chaos } from './chaos.ts'
import { ourClient, rawClient, type BankClient, type ClientSetting } from './clients.ts'
import { directClient } from './direct.ts'
import { Model, type AccessChange, type Account, type Viewer } from './model.ts'
import { currentSdk, olderSdk } from './sdk.ts'
import { bankRow, CLOCK, shownOf, type Shown } from './shown.ts'
import { BRANCHES, REGIONS, SYNC_CONFIG, TABLES, TOTAL } from './source.ts'
import { Teller } from './teller.ts'

// The file is long because a run is one story, from opening the bank to its closing.

export interface BankOptions {
  seed: number
  transfers: number
  log?: (line: string) => void
  /** Serves the bank, when it is not to have an edge of its own. That one is started with `bankBindings`. */
  serve?: (settings: EdgeSettings) => Promise<Edge>
}

type Open = (setting: ClientSetting) => BankClient | Promise<BankClient>

/** The first of a kind that is an auditor sees every branch, always. */
const KINDS: readonly { name: string; open: Open; clients: number; auditor?: true }[] = [
  { name: 'NDJSON', open: rawClient(ndjson), clients: 4, auditor: true },
  { name: 'BSON', open: rawClient(bson), clients: 3 },
  { name: 'RSocket', open: rawClient(rsocket('application/json')), clients: 2 },
  { name: 'RSocket of BSON', open: rawClient(rsocket('application/bson')), clients: 2, auditor: true },
  { name: 'native', open: rawClient(native), clients: 2 },
  { name: 'our client', open: ourClient, clients: 2, auditor: true },
  { name: 'direct', open: directClient, clients: 2 },
  { name: 'SDK 1.1, HTTP', open: currentSdk('HTTP'), clients: 1 },
  { name: 'SDK 1.1, RSocket', open: currentSdk('WEB_SOCKET'), clients: 1, auditor: true },
  { name: 'SDK 0.18, RSocket', open: olderSdk, clients: 1 },
]
const WRITERS = 4
const PACE_MS = 100
/** However slow the machine is: clients come to many of the states, not only to the last ones. */
const AHEAD = 40
const AHEAD_TRIES = 50
/** These only end what hangs, and say where: nothing is concluded from how long something takes. */
const STALL_SECONDS = 120
const START_SECONDS = 180
const END_SECONDS = 60
const MOVING_SECONDS = (transfers: number) => 120 + transfers / 2
/** All of them together: first, last and late clients, and five endings. */
export const limitSeconds = (transfers: number): number =>
  START_SECONDS + MOVING_SECONDS(transfers) + 3 * STALL_SECONDS + 5 * END_SECONDS
const STATUS_SECONDS = 5
const LOG_LINES = 40
/**
 * Objects die, calls fail and sockets fall, now and then, at every place of the way of a change but the one that each
 * row of a large transaction comes to.
 */
const POINTS = Object.keys(FAULT_POINTS).filter((point) => point !== 'stream.message')
/** To a change being taken in comes each row of a large transaction, too: more rarely, or a run takes five minutes. */
const FAULTS = { rate: 0.001, rates: { 'change.apply': 0.0001 }, fading: false, points: POINTS }

/** What the edge of a bank is started with. */
export const bankBindings = (seed: number): Record<string, string> => ({
  COMPACTION_BYTES: '4000',
  COMPACTION_SECONDS: '1',
  SLICE_CHANGES: '2000',
  FAULTS: JSON.stringify({ seed, ...FAULTS }),
})

interface Member extends Viewer {
  kind: string
  auditor: boolean
  clock: boolean
  open: Open
}

export interface BankReport {
  seconds: number
  transfers: number
  accessChanges: number
  large: number
  rolledBack: number
  /** Checkpoints that were checked, by kind of client. */
  checked: Record<string, number>
  disruptions: Record<string, number>
  /** By kind: `abort` is an object that was thrown out of memory. */
  faults: Record<string, number>
  /** Ops of compaction that clients received, and buckets that were compacted from their start. */
  moves: number
  clears: number
  compacted: number
}

/** Runs the bank. Throws with what was wrong, and with what could not be ended then. */
export async function runBank(options: BankOptions): Promise<BankReport> {
  const bank = new Bank(options)
  let report: BankReport | null = null
  let wrong: string[] = []
  try {
    await within('the start', bank.start(), START_SECONDS)
    report = await bank.run()
  } catch (error) {
    wrong = [`seed ${options.seed}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`]
    // At once: whatever follows may hang.
    console.error(wrong[0])
  }
  wrong = [...wrong, ...(await bank.stop())]
  if (report === null || wrong.length > 0) throw new Error(wrong.join('\n'))
  return report
}

class Bank {
  readonly #options: BankOptions
  readonly #random: Random
  readonly #secret = newSecret()
  readonly #members: Member[] = []
  readonly #clients: BankClient[] = []
  readonly #checked: Record<string, number> = {}
  readonly #faults: Record<string, number> = {}
  readonly #wrong: string[] = []
  /** What the edge logged lately. */
  readonly #log: string[] = []
  #directory!: Awaited<ReturnType<typeof temporaryDirectory>>
  #postgres!: TestPostgres
  #proxy!: Proxy
  #edge!: Edge
  #model!: Model
  #paused: Promise<void> | null = null
  /** The newest transaction that any client has shown. */
  #seen = 0

  constructor(options: BankOptions) {
    this.#options = options
    this.#random = new Random(options.seed)
    for (const { name, open, clients, auditor = false } of KINDS) {
      for (let n = 0; n < clients; n++) {
        const user = `${name.replace(/\W+/g, '-')}-${n + 1}`
        const branch = name === 'direct' ? this.#random.pick(BRANCHES) : null
        this.#members.push({
          user,
          branch,
          kind: name,
          open,
          auditor: auditor && n === 0,
          clock: branch === null && this.#members.length % 2 === 0,
        })
      }
    }
  }

  async start(): Promise<void> {
    const { seed, log, serve = startEdge } = this.#options
    this.#directory = await temporaryDirectory()
    this.#postgres = await startPostgres({ deadlock_timeout: '200ms' })
    this.#proxy = new Proxy(this.#postgres.port)
    await this.#proxy.listen()
    this.#model = await this.#found()
    this.#edge = await serve({
      databaseUrl: this.#postgres.url.replace(`:${this.#postgres.port}/`, `:${this.#proxy.port}/`),
      jwtSecret: this.#secret,
      jwtAudience: AUDIENCE,
      syncConfig: SYNC_CONFIG,
      directory: `${this.#directory.path}/edge`,
      bindings: bankBindings(seed),
      log: (line) => {
        this.#log.push(line.slice(0, 500))
        if (this.#log.length > LOG_LINES) this.#log.shift()
        const kind = /fault \S+ (\w+)$/.exec(line)?.[1]
        if (kind !== undefined) this.#faults[kind] = (this.#faults[kind] ?? 0) + 1
        log?.(`[edge] ${line}`)
      },
    })
    for (const member of this.#members) this.#clients.push(await this.#open(member))
  }

  /** Ends everything, one after the other. Answers what could not be ended. */
  async stop(): Promise<string[]> {
    const left: string[] = []
    const end = async (what: string, ending: Promise<void> | undefined) => {
      if (ending)
        await within(`the end of ${what}`, ending, END_SECONDS).catch((error: unknown) => left.push(String(error)))
    }
    await Promise.all(this.#clients.map((client, i) => end(`the client ${this.#members[i]?.user}`, client.close())))
    await end('the edge', this.#edge?.dispose())
    await end('the proxy', this.#proxy?.close())
    await end('Postgres', this.#postgres?.stop())
    await end('the directory', this.#directory?.remove())
    return left
  }

  async run(): Promise<BankReport> {
    const { transfers, log } = this.#options
    const started = performance.now()
    await this.#converged()
    log?.(`everybody is there after ${((performance.now() - started) / 1_000).toFixed(1)} s`)
    const random = this.#random
    const users = this.#members.filter(({ auditor, branch }) => !auditor && branch === null).map(({ user }) => user)
    const teller = new Teller(this.#postgres.sql(), this.#model, users, new Random(random.int(2 ** 31)))
    const chaos = new Chaos(
      {
        edge: this.#edge,
        proxy: this.#proxy,
        postgres: this.#postgres,
        clients: this.#clients,
        random: new Random(random.int(2 ** 31)),
        pause: async (milliseconds) => {
          const { promise, resolve } = Promise.withResolvers<void>()
          this.#paused = promise
          await sleep(milliseconds)
          this.#paused = null
          resolve()
        },
      },
      transfers,
    )
    const end = Date.now() + MOVING_SECONDS(transfers) * 1_000
    let failed = false
    const over = () => failed || this.#problems.length > 0 || (teller.transfers >= transfers && chaos.done)
    // One that fails ends the others.
    const acting = async (act: () => Promise<void>): Promise<void> => {
      try {
        while (!over()) await act()
      } finally {
        failed ||= !over()
      }
    }
    const writers = Array.from({ length: WRITERS }, (_, n) =>
      acting(async () => {
        await this.#paused
        for (let tries = 0; tries < AHEAD_TRIES && this.#model.head - this.#seen > AHEAD; tries++) await sleep(20)
        await this.#within(`a transaction of writer ${n + 1}`, teller.transact())
        await sleep(random.int(2 * PACE_MS))
      }),
    )
    let told = 0
    const disrupting = acting(async () => {
      await this.#within('what goes wrong', chaos.after(teller.transfers), () => chaos.doing)
      if (teller.transfers - told >= 1_000)
        log?.(`${(told = teller.transfers)} transfers, ${this.#model.checked} checkpoints`)
      await sleep(20)
    })
    await Promise.all([...writers, disrupting, acting(() => this.#progress(over, () => teller.transfers, end))])
    this.#throwProblems()
    await this.#within('everybody to come back', chaos.end())
    await this.#converged()
    if (this.#model.waiting > 0)
      throw new Error(`${this.#model.waiting} checkpoints show transactions that were never committed`)
    const { moves, clears, compacted } = await this.#compaction()
    const { accessChanges, large, rolledBack } = teller
    return {
      seconds: Math.round((performance.now() - started) / 1_000),
      transfers: teller.transfers,
      accessChanges,
      large,
      rolledBack,
      checked: this.#checked,
      disruptions: chaos.counts,
      faults: this.#faults,
      moves,
      clears,
      compacted,
    }
  }

  /** The tables, who sees what at first, and the model of it. */
  async #found(): Promise<Model> {
    const sql = this.#postgres.sql()
    await sql.unsafe(TABLES)
    const r = this.#random
    for (const { user, auditor, branch } of this.#members) {
      if (branch !== null) continue
      if (auditor)
        await sql`insert into staff select ${user} || '/' || r, ${user}, r from unnest(${REGIONS as string[]}::text[]) r`
      else {
        for (let n = 0; n < 3; n++) {
          const joined = r.pick(BRANCHES)
          await sql`insert into members values (${`${user}/${joined}`}, ${user}, ${joined}) on conflict do nothing`
        }
        if (r.chance(0.6)) await sql`insert into staff values (${user}, ${user}, ${r.pick(REGIONS)})`
      }
    }
    const accounts = await sql<Account[]>`select id, branch_id as branch, balance from accounts`
    const access = await sql<{ table: AccessChange['table']; id: string; who: string; what: string }[]>`
      select 'members' as table, id, user_id as who, branch_id as what from members
      union all select 'staff', id, user_id, region_id from staff
      union all select 'region_branches', id, region_id, id from region_branches`
    return new Model(
      {
        accounts: accounts.map((account) => [account.id, { ...account }]),
        branches: BRANCHES,
        access: access.map(({ table, id, who, what }) => ({ table, id, row: { who, what } })),
      },
      this.#members,
    )
  }

  #setting({ user, branch, clock }: Member): Omit<ClientSetting, 'shows'> {
    const claims = { ...(branch === null ? {} : { branch }), ...(clock ? { clock: CLOCK } : {}) }
    return {
      url: this.#edge.url,
      user,
      path: `${this.#directory.path}/${user}`,
      token: () => token(this.#secret, user, 3_600, claims),
    }
  }

  #open(member: Member): BankClient | Promise<BankClient> {
    const { user, kind, auditor, open } = member
    this.#checked[kind] ??= 0
    return open({
      ...this.#setting(member),
      shows: (shown) => {
        this.#checked[kind] = (this.#checked[kind] ?? 0) + 1
        // Whatever the model says: money does not come from nowhere.
        if (auditor && shown.total !== TOTAL)
          this.#wrong.push(`${user}: I4: all branches hold ${shown.total} instead of ${TOTAL}`)
        this.#seen = Math.max(this.#seen, shown.clock ?? 0)
        this.#model.check(member, shown)
      },
    })
  }

  get #problems(): string[] {
    return [
      ...this.#wrong,
      ...this.#model.problems,
      ...this.#clients.flatMap(({ problems }, i) => problems.map((each) => `${this.#members[i]?.user}: ${each}`)),
    ]
  }

  #throwProblems(): void {
    const problems = this.#problems
    if (problems.length > 0)
      throw new Error(`${problems.length} problems\n${problems.slice(0, 12).join('\n').slice(0, 6_000)}`)
  }

  /** While money moves, clients come to newer states, however slowly. */
  async #progress(over: () => boolean, moved: () => number, end: number): Promise<void> {
    const before = this.#seen
    if (Date.now() > end) throw new Error(`only ${moved()} transfers by now; ${JSON.stringify(await this.#state())}`)
    const newer = async () => this.#seen > before || over()
    await until(`any client to show something newer than transaction ${before}`, newer, STALL_SECONDS, () =>
      this.#state(),
    )
  }

  #within<T>(what: string, work: Promise<T>, doing: () => string = () => ''): Promise<T> {
    return within(what, work, STALL_SECONDS, async () => [doing(), await this.#state()])
  }

  /** For people, when something hangs. */
  async #state(of: readonly string[] = this.#members.map(({ user }) => user)): Promise<object> {
    const { head, waiting, checked } = this.#model
    const clients = this.#members.flatMap(({ user }, i) =>
      of.includes(user) ? [[user, this.#clients[i]?.state()]] : [],
    )
    // Which may hang for the same reason.
    const status = await within('/status', statusOf(this.#edge.url, this.#secret), STATUS_SECONDS).catch(String)
    return { head, seen: this.#seen, waiting, checked, paused: this.#paused !== null, clients, status, log: this.#log }
  }

  /** Every client shows what plain SQL says. */
  async #converged(): Promise<void> {
    const wanted = new Map<Member, string>()
    for (const member of this.#members) wanted.set(member, textOf(await this.#truth(member)))
    let behind: string[] = []
    await until(
      'every client to show what plain SQL says',
      async () => {
        if (this.#problems.length > 0) return true
        behind = []
        for (const [i, member] of this.#members.entries()) {
          // One whose answer does not come is one of them.
          behind.push(member.user)
          const shown = await this.#clients[i]?.shown()
          if (shown && textOf(shown) === wanted.get(member)) behind.pop()
        }
        return behind.length === 0
      },
      STALL_SECONDS,
      () => this.#state(behind),
    )
    this.#throwProblems()
  }

  /** What is left of the history, as somebody sees it who comes now and sees everything. */
  async #compaction(): Promise<{ moves: number; clears: number; compacted: number }> {
    const raw = this.#clients.flatMap((client) => (client.follower ? [client.follower] : []))
    const sum = (pick: (follower: Follower) => number) => raw.reduce((total, follower) => total + pick(follower), 0)
    const auditor = this.#members.find((member) => member.auditor)
    if (!auditor) throw new Error('there is no auditor')
    const late = rawClient(ndjson)({ ...this.#setting(auditor), shows: () => {} })
    try {
      await until(
        'a client that comes late',
        async () => late.follower.checkpoints > 0,
        STALL_SECONDS,
        () => late.state(),
      )
      if (textOf(await late.shown()) !== textOf(await this.#truth(auditor)))
        throw new Error('who comes late sees something else')
      return { moves: sum(({ moves }) => moves), clears: sum(({ clears }) => clears), compacted: late.follower.clears }
    } finally {
      await late.close()
    }
  }

  async #truth({ user, branch, clock }: Member): Promise<Shown> {
    const rows = await this.#postgres.sql()<Record<string, unknown>[]>`
      with visible as (
        select branch_id as id from members where user_id = ${user}
        union select b.id from region_branches b join staff s using (region_id) where s.user_id = ${user}
        union select ${branch}::text
      )
      select id, branch_id as branch, balance, null::int as serial from accounts where branch_id in (select id from visible)
      union all select id, null, null, serial from books where id in (select id from visible)
      union all select id, null, null, serial from clock where ${clock}`
    return shownOf(rows.map(bankRow))
  }
}

const textOf = ({ clock, branches }: Shown): string =>
  JSON.stringify([clock, [...branches].sort(([a], [b]) => (a < b ? -1 : 1))])

const sleep = (milliseconds: number) => new Promise<void>((resolve) => setTimeout(resolve, milliseconds))
