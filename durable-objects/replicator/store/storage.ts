import type { MarkerKey, Suspect, Round, Fence, Hold } from './stored.ts'
import { attemptOf, isOfOlder, type Attempt } from '../session/attempts.ts'
import type { Refused } from '../session/refused.ts'
import type { OwedWrite } from '../writes/write-checkpoints.ts'
import type { ErrorCode } from '../../../protocol/errors.ts'
import type { Serving } from '../../../protocol/messages/replicator.ts'
import type { HealthState } from '../../../sources/source.ts'
import type { StoredState } from '../../../sources/stored.ts'
import type { OpId } from '../../../protocol/ops.ts'
import type { Database, Step } from '../../shared/database.ts'
import type { Verifying } from '../verify/progress.ts'

/**
 * What the replicator keeps. Append-only: a released step never changes.
 *
 * state: small values as JSON, see `State`. rows: the row state, `outputs` and `image` as in `row-state.ts`; `t` is a number of `tables`, 0 for
 * mailboxes. outbox_slots: stored batches cut into parts, see `outbox.ts`. incomplete: rows of which Postgres left out values that we do not have.
 * relays: whom to keep a socket to. diagnostics: the last problems as JSON, see `diagnostics.ts`. No secondary index but the names of buckets: every one costs a row written.
 */
export const MIGRATIONS: readonly Step[] = [
  `
  CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE plans (hash TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
  CREATE TABLE tables (number INTEGER PRIMARY KEY, schema TEXT NOT NULL, name TEXT NOT NULL, fingerprint TEXT NOT NULL, copy TEXT NOT NULL);
  CREATE TABLE buckets (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, definition TEXT NOT NULL, generation INTEGER NOT NULL);
  CREATE TABLE rows (t INTEGER NOT NULL, key TEXT NOT NULL, outputs TEXT NOT NULL, image TEXT, PRIMARY KEY (t, key)) WITHOUT ROWID;
  CREATE TABLE outbox (batch INTEGER NOT NULL, part INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (batch, part)) WITHOUT ROWID;
  CREATE TABLE incomplete (t INTEGER NOT NULL, key TEXT NOT NULL, PRIMARY KEY (t, key)) WITHOUT ROWID;
  CREATE TABLE relays (name TEXT PRIMARY KEY, serial INTEGER NOT NULL) WITHOUT ROWID;
  `,
  // What rows of the table are called and told apart by, as JSON: see `KnownTable`.
  `ALTER TABLE tables ADD COLUMN description TEXT NOT NULL DEFAULT '{}'`,
  `CREATE TABLE diagnostics (slot INTEGER PRIMARY KEY, body TEXT NOT NULL);`,
  // The last notice is kept with the commit now.
  `DELETE FROM state WHERE key = 'notice'`,
  // Buckets that somebody follows directly.
  'CREATE TABLE watchers (bucket TEXT PRIMARY KEY, serial INTEGER NOT NULL) WITHOUT ROWID',
  // Sync configs as they were deployed, see `configs.ts`, and what is or was evaluated, see `definitions.ts`.
  `
  CREATE TABLE configs (number INTEGER PRIMARY KEY, record TEXT NOT NULL, yaml TEXT NOT NULL);
  CREATE TABLE definitions (
    hash TEXT NOT NULL, generation INTEGER NOT NULL, state TEXT NOT NULL, bucket TEXT NOT NULL, serial INTEGER NOT NULL,
    PRIMARY KEY (hash, generation)
  ) WITHOUT ROWID;
  `,
  // What the last comparison has found, see `differences.ts`.
  'CREATE TABLE differences (id TEXT PRIMARY KEY, number INTEGER NOT NULL, body TEXT NOT NULL) WITHOUT ROWID',
  // Slots of the outbox are written over, which is a row less for each batch than to delete and insert them.
  `
  CREATE TABLE outbox_slots (slot INTEGER PRIMARY KEY, batch INTEGER NOT NULL, part INTEGER NOT NULL, body TEXT NOT NULL);
  INSERT INTO outbox_slots (batch, part, body) SELECT batch, part, body FROM outbox ORDER BY batch, part;
  DROP TABLE outbox;
  `,
  // From here on row state has strong hashes and subkeys, see `row-state.ts`, and differences have ids by strong hashes.
  { sql: 'DELETE FROM differences', breaks: true },
  // Objects that are to be erased, see `removals.ts`. Older code leaves them as they are; an object that it writes to meanwhile is not erased.
  `CREATE TABLE removals (
    recorded INTEGER NOT NULL, due INTEGER NOT NULL, name TEXT NOT NULL, number INTEGER, up_to INTEGER NOT NULL, PRIMARY KEY (recorded, due, name)
  ) WITHOUT ROWID`,
]

/** Code that knows so many steps writes strong hashes, and gives each user a mailbox. */
export const STRONG_STEPS = 9

/** How far the stream has been taken in: behind the last whole transaction stored, and how much of the next one is stored already in slices. */
export interface Decode {
  counter: OpId
  position: StoredState | null
  partial: StoredState | null
}

/**
 * As it is stored: in a row of its own, in the newest outbox row or with the commit, whichever is written anyway. The highest `n` is the
 * newest; a position may go back (another database), and so says nothing about that.
 */
export type StoredDecode = Decode & { n: number }

/** The values of table `state`. */
export interface State {
  decode: Decode
  /**
   * `named`: the last notice as parts that are ready to send, null when it was too large to keep. (An older version kept it as `notice`, with hashes in place of
   * names; neither reads the other's.) `batch`: the newest one of the outbox that is committed; what it holds of that and older ones is of no use any more.
   * `hold`: what is served meanwhile, null: what is committed. `published`: when it was stored, all buckets that are followed directly had been told up to there.
   */
  commit: {
    committed: OpId
    plan: string | null
    named: { previous: OpId; parts: string[] } | null
    batch: number
    hold: Hold | null
    published: Serving | null
  }
  serial: number
  /** The plan that is being copied, null when the serving one is what is wanted. */
  next: string | null
  /** The script's own sync config that was taken in last: a hash of text and limits. */
  script: string | null
  /** How far row state is rid of what dropped definitions left in it; null: nothing is dropped. */
  drop: { t: number; key: string; swept: boolean } | null
  /** The last comparison of source, row state and buckets, and how far it is; null: there was none. */
  verify: Verifying | null
  /** Which database it is, as its kind tells it; null before the first session. */
  source: StoredState | null
  /** The slot does not connect to what is stored: it is dropped before anything is read from it. */
  newSlot: boolean
  /** Everything is compared after a slot was lost, and not all of it is done: write checkpoints wait. */
  comparing: boolean
  /** Write checkpoints that were given out while that was so, or before there was a slot. */
  owedWrites: OwedWrite[]
  /** What the source kept for us when it was measured last. */
  slot: HealthState | null
  /** Sessions that failed one after the other, and why the last one did, under which settings. An earlier version does not store those, and ignores them. */
  failing: { failures: number; code: ErrorCode; message: string; settings?: string } | null
  /** Of this storage: Postgres knows its sessions by it, and names of its buckets begin with it. */
  id: string | null
  /** Signs our messages in the WAL; null until it is needed. */
  markerKey: MarkerKey
  /** Numbers of write checkpoints up to here may have been given out. */
  issued: number
  /** Polls that found nothing, one after the other. */
  idlePolls: number
  /** The session that runs, or the last one when it ended by a crash or an error of ours. */
  running: Attempt | null
  /** Changes that have killed the replicator, or may. */
  suspects: Suspect[]
  /** The last round over what nobody uses; null: there was none. */
  round: Round | null
  /** When buckets that are followed directly were asked last whether they still are: ms since 1970. */
  followersAsked: number
  /** Buckets that commits do not wait for. An older version does not know of them. */
  fences: Fence[]
  /** What the last session could not follow. An older version keeps it in memory alone, and ignores this. */
  refused: Refused[]
  /** An older release has run on this storage behind this one, and what it left is not mended yet: see `returned.ts`. Older code ignores it. */
  returned: boolean
}

const INITIAL: State = {
  decode: { counter: 0, position: null, partial: null },
  commit: { committed: 0, plan: null, named: null, batch: 0, hold: null, published: null },
  serial: 0,
  next: null,
  script: null,
  drop: null,
  verify: null,
  source: null,
  newSlot: false,
  comparing: false,
  owedWrites: [],
  slot: null,
  failing: null,
  id: null,
  markerKey: null,
  issued: 0,
  idlePolls: 0,
  running: null,
  suspects: [],
  round: null,
  followersAsked: 0,
  fences: [],
  refused: [],
  returned: false,
}

/** A commit as it is stored. What came later is absent in older ones. */
type StoredCommit = Omit<State['commit'], 'batch' | 'hold' | 'published'> & {
  batch?: number
  hold?: Hold | null
  published?: Serving | null
  decode?: StoredDecode
  notice?: unknown
}

/** Of the id of a storage: its first 64 bits are the seed of names. */
const ID_BYTES = 14
const SEED = 16
/** Hexadecimal digits of an id, and of its seed, that an older version has made: they stay. */
const SHORT_ID = 12
const SHORT_SEED = 6

/** Reads are served from memory: the object is the only writer. */
export class StateStore {
  readonly #db: Database
  readonly #values: State
  /** An older release has begun a session, or committed something, since this one wrote its own forms of that. */
  readonly ofOlder: boolean
  /** Number of the newest decode state. */
  #n: number

  constructor(db: Database) {
    this.#db = db
    const stored = new Map(db.all('SELECT key, value FROM state').map((row) => [String(row.key), String(row.value)]))
    const read = <K extends keyof State>(key: K): State[K] => {
      const text = stored.get(key)
      return text === undefined ? INITIAL[key] : (JSON.parse(text) as State[K])
    }
    const { decode: committed, notice, ...commit }: StoredCommit = read('commit')
    this.#values = {
      decode: read('decode'),
      commit: { ...INITIAL.commit, ...commit },
      serial: read('serial'),
      next: read('next'),
      script: read('script'),
      drop: read('drop'),
      verify: read('verify'),
      source: read('source'),
      newSlot: read('newSlot'),
      comparing: read('comparing'),
      owedWrites: read('owedWrites'),
      slot: read('slot'),
      failing: read('failing'),
      id: read('id'),
      markerKey: read('markerKey'),
      issued: read('issued'),
      idlePolls: read('idlePolls'),
      running: attemptOf(read('running')),
      suspects: read('suspects'),
      round: read('round'),
      followersAsked: read('followersAsked'),
      fences: read('fences'),
      refused: read('refused'),
      returned: read('returned'),
    }
    this.ofOlder = notice !== undefined || isOfOlder(read('running'))
    const { n = 0, ...decode }: Decode & { n?: number } = this.#values.decode
    this.#n = n
    this.#values.decode = decode
    if (committed) this.found(committed)
  }

  get<K extends keyof State>(key: K): State[K] {
    return this.#values[key]
  }

  /** One row written. Inside a transaction that is rolled back, memory and storage would differ: such an object must be reset. */
  set<K extends keyof State>(key: K, value: State[K]): void {
    this.#values[key] = value
    if (key === 'decode') this.#n++
    this.#db.run(STATEMENTS.set, key, JSON.stringify(this.#stored(key)))
  }

  /** Of this storage alone; made when it is first asked for. */
  storageId(): string {
    const id = this.#values.id ?? Buffer.from(crypto.getRandomValues(new Uint8Array(ID_BYTES))).toString('hex')
    if (this.#values.id === null) this.set('id', id)
    return id
  }

  /** What names of buckets of this storage have in common. */
  seed(): string {
    const id = this.storageId()
    return id.slice(0, id.length === SHORT_ID ? SHORT_SEED : SEED)
  }

  /** The decode state of a batch that is about to be stored in the outbox, and with it. No row written. */
  advance(decode: Decode): StoredDecode {
    this.#values.decode = decode
    return { ...decode, n: ++this.#n }
  }

  /** A decode state that was stored elsewhere. */
  found({ n, ...decode }: StoredDecode): void {
    if (n <= this.#n) return
    this.#n = n
    this.#values.decode = decode
  }

  #stored(key: keyof State): unknown {
    const decode: StoredDecode = { ...this.#values.decode, n: this.#n }
    if (key === 'decode') return decode
    // The outbox row that held it may be dropped with this.
    if (key === 'commit') return { ...this.#values.commit, decode }
    return this.#values[key]
  }
}

export const STATEMENTS = {
  set: 'INSERT INTO state VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value',
} as const
