import type { FaultKind, FaultPoint } from '../../durable-objects/shared/fault-points.ts'
import type { VerifyAnswer } from '../../protocol/verification.ts'
import { Operator } from '../support/deploys.ts'
import { startEdge, type Edge } from '../support/edge.ts'
import { Follower, rowsOf } from '../support/follower.ts'
import { OVER_TLS, type OverTls } from '../support/over-tls.ts'
import { startPostgres, type PostgresVersion, type TestPostgres } from '../support/postgres.ts'
import { requestWriteCheckpoint, statusOf } from '../support/status.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token } from '../support/support.ts'
import { change, largeTransaction, transaction, transfer, truncate } from './changes.ts'
import { DEFINITIONS, publicationStatement, RESTORE } from './definitions.ts'
import { storedBuckets } from './objects.ts'
import { Random } from '../support/random.ts'
import { Proxy } from './proxy.ts'
import { optionOf, OPTIONS, optionsOf, PUBLISHED, SUBSCRIPTIONS, syncConfigOf, TABLES } from './source.ts'
import { Transactions } from './transactions.ts'
import { canonical, clientsOf, differences, truthOf, withoutAway, withOptions, type Contents } from './truth.ts'

// The file is long because a run is one object that acts, restarts and compares.

export interface RunOptions {
  seed: number
  steps: number
  /** Steps between two quiet points. */
  between?: number
  /** Absent: what the environment says. */
  postgres?: PostgresVersion
  overTls?: OverTls | null
  /** Whether objects, sockets and servers are interrupted. */
  disruptions?: boolean
  /** The binding FAULTS; null = none. */
  faults?: {
    rate: number
    eager?: number
    most?: number
    fading?: boolean
    points?: readonly FaultPoint[]
    kinds?: readonly FaultKind[]
    delayMs?: number
    backOffMs?: number
  } | null
  /** Further settings of the edge. */
  bindings?: Readonly<Record<string, string>>
  /** A large transaction at every so manyth step. */
  largeEvery?: number
  /** A deploy of another sync config at every so manyth step. */
  deployEvery?: number
  log?: (line: string) => void
}

export interface RunReport {
  steps: number
  quietPoints: number
  checkpoints: number
  /** Statements that Postgres refused: locks, keys, columns that are not there. */
  refused: number
  disruptions: Record<string, number>
  /** Of the connections of replication at quiet points: TLSv1.3 and the like, or `plain`. */
  encryption: Set<string>
  /** `point kind` → how often. */
  faults: Map<string, number>
}

type StepKind =
  'change' | 'transaction' | 'large' | 'truncate' | 'open' | 'prepared' | 'definition' | 'deploy' | 'disruption'

const STEPS: readonly (readonly [weight: number, kind: StepKind])[] = [
  [56, 'change'],
  [22, 'transaction'],
  [1.5, 'large'],
  [1.5, 'truncate'],
  [6, 'open'],
  [4, 'prepared'],
  [6, 'definition'],
  [1.5, 'deploy'],
  [1.2, 'disruption'],
]

/** Only ends a run that hangs. */
const LIMIT_MS = Number(process.env.ROCKPOOL_LIMIT ?? 90) * 1_000

/** A difference between what is held and what Postgres says; the message replays it. */
export class Difference extends Error {}

/** One run over servers of its own. Throws a Difference at the first one. */
export async function run(options: RunOptions): Promise<RunReport> {
  const driver = new Driver(options)
  try {
    await driver.start()
    return await driver.run()
  } finally {
    await driver.stop()
  }
}

class Driver {
  readonly #options: RunOptions
  readonly #random: Random
  readonly #secret = newSecret()
  /** Null: Rockpool keeps one of its own. */
  readonly #publication: string | null
  readonly #transactions = new Transactions(
    () => this.#postgres.url,
    (line) => this.#note(line),
  )
  readonly #report: RunReport
  readonly #trace: string[] = []
  #postgres!: TestPostgres
  #proxy!: Proxy
  #edge!: Edge
  #follower!: Follower
  readonly #operator = new Operator(() => this.#edge.url, this.#secret)
  #directory!: Awaited<ReturnType<typeof temporaryDirectory>>
  #step = 0
  #defined = true
  #unbalanced: string | null = null

  constructor(options: RunOptions) {
    this.#options = options
    this.#random = new Random(options.seed)
    this.#publication = options.seed % 2 === 0 ? null : 'mine'
    this.#report = {
      steps: 0,
      quietPoints: 0,
      checkpoints: 0,
      refused: 0,
      disruptions: {},
      encryption: new Set(),
      faults: new Map(),
    }
  }

  async start(): Promise<void> {
    const { seed, faults, log } = this.#options
    this.#directory = await temporaryDirectory()
    const { overTls = OVER_TLS, postgres } = this.#options
    const settings = { max_prepared_transactions: '10', deadlock_timeout: '200ms' }
    this.#postgres = await startPostgres(settings, {
      overTls,
      ...(postgres === undefined ? {} : { version: postgres }),
    })
    this.#proxy = new Proxy(this.#postgres.port)
    await this.#proxy.listen()
    for (const statement of TABLES) await this.#postgres.sql().unsafe(statement)
    if (this.#publication) {
      const viaRoot = seed % 4 === 3
      await this.#postgres
        .sql()
        .unsafe(`CREATE PUBLICATION mine FOR TABLE ${PUBLISHED} WITH (publish_via_partition_root = ${viaRoot})`)
    }
    this.#edge = await startEdge({
      databaseUrl: this.#postgres.url.replace(`:${this.#postgres.port}/`, `:${this.#proxy.port}/`),
      overTls,
      jwtSecret: this.#secret,
      jwtAudience: AUDIENCE,
      syncConfig: syncConfigOf([]),
      directory: this.#edgeDirectory,
      bindings: {
        // Now and then everything is larger than a slice: a TRUNCATE, a chunk, most transactions.
        CATALOG_WATCH_SECONDS: '0.3',
        SLICE_CHANGES: seed % 3 === 0 ? '100' : '2000',
        // With half of the seeds what is retired is dropped at once, with the others it is there for a moment.
        RETIRE_GRACE_SECONDS: seed % 2 === 0 ? '0' : '5',
        ...(this.#publication ? { PUBLICATION: this.#publication } : {}),
        ...this.#options.bindings,
        ...(faults ? { FAULTS: JSON.stringify({ seed, ...faults }) } : {}),
      },
      log: (line) => {
        this.#fault(line)
        log?.(`  [edge] ${line}`)
      },
    })
    this.#follower = new Follower({
      url: this.#edge.url,
      token: () => token(this.#secret, 'u1'),
      clientId: 'driver',
      request: { streams: { include_defaults: true, subscriptions: SUBSCRIPTIONS } },
      at: (checkpoint, buckets) => {
        for (const ledger of ['#ledger[', '#ledger2[']) {
          const sum = rowsOf(buckets, ledger).reduce((total, row) => total + Number(row.amount), 0)
          if (sum !== 0) this.#unbalanced ??= `I4: at checkpoint ${checkpoint} ${ledger} sums up to ${sum}`
        }
      },
    })
  }

  async stop(): Promise<void> {
    await this.#follower?.close()
    await this.#edge?.dispose()
    await this.#proxy?.close()
    await this.#transactions.lose()
    await this.#postgres?.stop()
    await this.#directory?.remove()
  }

  async run(): Promise<RunReport> {
    const { steps, between = 50 } = this.#options
    await this.#until('the first copy', async () => this.#follower.checkpoints > 0)
    await this.#quiet()
    await this.#beginVerifying()
    for (this.#step = 1; this.#step <= steps; this.#step++) {
      await this.#take()
      this.#report.steps++
      if (this.#step % between !== 0 && this.#step !== steps) continue
      await this.#quiet()
      await this.#beginVerifying()
    }
    this.#defined = true
    for (const statement of RESTORE) await this.#transactions.run([statement])
    await this.#quiet()
    this.#report.checkpoints = this.#follower.checkpoints
    this.#report.refused = this.#transactions.refused
    return this.#report
  }

  get #edgeDirectory(): string {
    return `${this.#directory.path}/edge`
  }

  async #take(): Promise<void> {
    const r = this.#random
    const { largeEvery, deployEvery, disruptions = true } = this.#options
    const due = (every: number | undefined) => every !== undefined && this.#step % every === 0
    const kind = due(largeEvery) ? 'large' : due(deployEvery) ? 'deploy' : r.weighted(STEPS)
    // The choices are the same with and without, so that a seed replays.
    if (kind === 'disruption' && !disruptions) return
    switch (kind) {
      case 'change':
        return this.#transactions.run([change(r)])
      case 'transaction':
        return this.#transactions.run(['BEGIN', ...transaction(r), r.chance(0.8) ? 'COMMIT' : 'ROLLBACK'])
      case 'large':
        return this.#transactions.run(['BEGIN', ...largeTransaction(r), r.chance(0.85) ? 'COMMIT' : 'ROLLBACK'])
      case 'truncate':
        return this.#transactions.run(
          r.chance(0.5) ? [truncate(r)] : ['BEGIN', change(r), truncate(r), change(r), 'COMMIT'],
        )
      case 'open':
        return this.#transactions.leaveOpen(['BEGIN', ...(r.chance(0.5) ? transfer(r) : []), change(r)], 1 + r.int(15))
      case 'prepared':
        return this.#transactions.prepare(r)
      case 'definition':
        this.#defined = true
        return this.#transactions.run(
          r
            .weighted(DEFINITIONS)(r)
            .flatMap((each) => publicationStatement(each, this.#publication) ?? []),
        )
      case 'deploy':
        return this.#deploy(r)
      case 'disruption':
        return this.#disrupt(r)
    }
  }

  /**
   * It is only begun: steps go on while it copies, and another one may come before it is done. Tables may be away for a
   * moment, so it is forced.
   */
  async #deploy(r: Random): Promise<void> {
    this.#defined = true
    const yaml = syncConfigOf(OPTIONS.filter(() => r.chance(0.5)))
    const back = r.chance(0.2)
    this.#note(back ? '== rollback' : `== deploy ${yaml.slice(0, yaml.indexOf('\n'))}`)
    await this.#until('a deploy to be taken', async () => {
      const { status, error } = back ? await this.#operator.rollback() : await this.#operator.put(yaml, '?force=1')
      // Nothing to go back to.
      if (status === 202 || (back && status === 409)) return true
      throw new Error(JSON.stringify(error))
    })
  }

  async #disrupt(r: Random): Promise<void> {
    const sql = this.#postgres.sql()
    const [name, work] = r.weighted<readonly [string, () => Promise<unknown>]>([
      [3, ['socket cut', async () => this.#proxy.cut()]],
      [2, ['socket hangs', async () => this.#proxy.hang(200 + r.int(300))]],
      [
        3,
        ['walsender ended', () => sql`SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active`],
      ],
      [2, ['workerd killed', () => this.#edge.kill9()]],
      [1, ['Postgres restarted', () => this.#restart(() => this.#postgres.restart())]],
      [
        1,
        [
          'Postgres crashed',
          () =>
            this.#restart(async () => {
              await this.#postgres.kill9()
              await this.#postgres.startServer()
            }),
        ],
      ],
    ])
    this.#note(`!! ${name}`)
    this.#report.disruptions[name] = (this.#report.disruptions[name] ?? 0) + 1
    await work()
  }

  async #restart(work: () => Promise<void>): Promise<void> {
    await work()
    await this.#transactions.lose()
  }

  /** Waits until everything committed so far has arrived, and compares. */
  async #quiet(): Promise<void> {
    await this.#transactions.finish(this.#random)
    this.#note('-- quiet')
    await this.#writeCheckpoint()
    const defined = this.#defined
    // Definitions are found by looking now and then, and copied; anything else must be there now.
    await this.#until('the buckets to be what Postgres says', async () => {
      const before = await statusOf(this.#edge.url, this.#secret)
      if (
        before.copy !== null ||
        before.pendingBatches > 0 ||
        before.deploy.next !== null ||
        before.deploy.dropping > 0
      )
        return false
      const options = optionsOf((await this.#operator.configs()).yaml)
      const { contents: truth, away } = await truthOf(this.#postgres.sql(), this.#publication)
      const stored = await storedBuckets(this.#edgeDirectory)
      // What served until a moment ago is maintained, too, until it is dropped.
      const there = new Set([...options, ...[...stored.contents.keys()].map(optionOf)])
      const wanted = withoutAway(withOptions(truth, there), away)
      this.#served = options
      const found = [
        ...differences(withoutAway(stored.contents, away), wanted),
        ...(stored.committed === before.checkpoint ? stored.problems : []),
      ]
      const after = await statusOf(this.#edge.url, this.#secret)
      const settled = after.copy === null && after.pendingBatches === 0 && after.checkpoint === before.checkpoint
      this.#last = found
      if (found.length === 0) return settled
      if (settled && !defined) throw this.#difference(found)
      return false
    })
    // Of a checkpoint at which nothing of the client's changed it hears nothing; with this one it has everything.
    await this.#writeCheckpoint()
    const { contents: truth, away } = await truthOf(this.#postgres.sql(), this.#publication)
    const wanted = withOptions(clientsOf(truth), new Set(this.#served))
    const missing = differences(withoutAway(this.#held(), away), withoutAway(wanted, away))
    if (missing.length > 0) throw this.#difference(missing)
    if (this.#unbalanced) throw this.#difference([this.#unbalanced])
    if (this.#follower.problems.length > 0) throw this.#difference(this.#follower.problems)
    await this.#verified(defined)
    this.#defined = false
    const walsenders = await this.#postgres.sql()`SELECT version FROM pg_stat_replication JOIN pg_stat_ssl USING (pid)`
    for (const { version } of walsenders) this.#report.encryption.add(String(version ?? 'plain'))
    this.#report.quietPoints++
    this.#options.log?.(`quiet at step ${this.#step}, checkpoint ${this.#follower.checkpoint}`)
  }

  /** Everything is compared while steps go on, sometimes with repair: there is nothing to find. */
  async #beginVerifying(): Promise<void> {
    const query = this.#random.chance(0.5) ? '?repair=1' : ''
    await this.#until('a verification to be taken', async () => {
      const { status, error } = await this.#operator.ask<VerifyAnswer>('POST', `verify${query}`)
      // It was taken, and the answer was lost.
      if (status === 202 || status === 409) return true
      throw new Error(JSON.stringify(error))
    })
  }

  /**
   * Where definitions have changed, rows may have differed until that was noticed; a bucket never holds anything else
   * than row state says.
   */
  async #verified(defined: boolean): Promise<void> {
    await this.#until('the verification to end', async () => {
      const { data } = await this.#operator.ask<VerifyAnswer>('GET', 'verify')
      const { verify, differences: found } = data
      if (!verify) return true
      if (verify.state === 'failed') throw this.#difference([JSON.stringify(verify)])
      const wrong = found.filter(({ code }) => !defined || !code.startsWith('row-'))
      if (wrong.length > 0) throw this.#difference(wrong.map((each) => JSON.stringify(each)))
      return verify.state === 'done'
    })
  }

  async #writeCheckpoint(): Promise<void> {
    const bearer = await token(this.#secret, 'u1')
    const write = await this.#until('a write checkpoint', () =>
      requestWriteCheckpoint(this.#edge.url, bearer, 'driver'),
    )
    await this.#until('the write checkpoint to come back', async () => this.#follower.writeCheckpoint >= write)
  }

  #last: string[] = []
  /** Optional streams of the sync config that serves. */
  #served: string[] = []

  /** What the client holds, without its lookups, which it never sees. */
  #held(): Contents {
    return new Map(
      [...this.#follower.buckets]
        .filter(([, bucket]) => bucket.rows.size > 0)
        .map(([name, bucket]) => [
          name.slice(name.indexOf('#') + 1),
          [...bucket.rows.values()].map((data) => canonical(JSON.parse(data))).sort(),
        ]),
    )
  }

  async #until<T>(what: string, probe: () => Promise<T | false>): Promise<T> {
    const end = Date.now() + LIMIT_MS * (this.#options.faults ? 3 : 1)
    for (let error: unknown; ;) {
      try {
        const value = await probe()
        if (value !== false) return value
        error = undefined
      } catch (caught) {
        if (caught instanceof Difference) throw caught
        error = caught
      }
      if (Date.now() > end) {
        const status = await statusOf(this.#edge.url, this.#secret).catch(String)
        throw this.#difference([
          `gave up waiting for ${what}`,
          String(error ?? ''),
          `the client's stream: ${String(this.#follower.ended)}`,
          ...this.#last,
          JSON.stringify(status),
        ])
      }
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  }

  #difference(found: readonly string[]): Difference {
    const { seed } = this.#options
    const trace = process.env.ROCKPOOL_TRACE ? `\n${this.#trace.slice(-400).join('\n')}` : ''
    return new Difference(`seed ${seed}, step ${this.#step}:\n${found.slice(0, 20).join('\n')}${trace}`)
  }

  #note(line: string): void {
    this.#trace.push(`${this.#step}: ${line}`)
    this.#options.log?.(`${this.#step}: ${line}`)
  }

  #fault(line: string): void {
    const match = /fault (\S+) (\w+)$/.exec(line)
    if (!match) return
    const name: `${string} ${FaultKind}` = `${match[1] ?? ''} ${match[2] as FaultKind}`
    this.#report.faults.set(name, (this.#report.faults.get(name) ?? 0) + 1)
  }
}
