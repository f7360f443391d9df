import type { MarkerKey, Suspect, Round, Fence, Hold, Passing, Paused, StoredSize, StoredUsage } from './stored.ts'
import { attemptOf, isOfOlder, type Attempt } from '../session/attempts.ts'
import type { Refused } from '../session/refused.ts'
import type { OwedWrite } from '../writes/write-checkpoints.ts'
import type { ErrorCode } from '../../../protocol/errors.ts'
import type { Serving, Standing } from '../../../protocol/messages/replicator.ts'
import type { HealthState } from '../../../sources/source.ts'
import type { StoredState } from '../../../sources/stored.ts'
import type { OpId } from '../../../protocol/ops.ts'
import type { Database, Step } from '../../shared/database.ts'
import type { Verifying } from '../verify/progress.ts'

/**
 * The storage of the replicator. Append-only: a released step never changes. The file is long because it is the one
 * list of what is stored.
 *
 * state: small values as JSON, see `State`. rows: the row state, with `outputs` and `image` as in `row-state.ts`; `t`
 * is a number of `tables`, 0 for mailboxes. outbox_slots: stored batches cut into parts, see `outbox.ts`. incomplete:
 * rows of which Postgres left out values that we do not have. relays: those to which sockets are kept. diagnostics: the
 * last problems as JSON, see `diagnostics.ts`. The names of buckets are the only secondary index, because each one
 * costs a written row.
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
  // The names of a table and the columns that identify its rows, as JSON: see `KnownTable`.
  `ALTER TABLE tables ADD COLUMN description TEXT NOT NULL DEFAULT '{}'`,
  `CREATE TABLE diagnostics (slot INTEGER PRIMARY KEY, body TEXT NOT NULL);`,
  // The last notice is now stored with the commit.
  `DELETE FROM state WHERE key = 'notice'`,
  // Buckets that clients follow directly.
  'CREATE TABLE watchers (bucket TEXT PRIMARY KEY, serial INTEGER NOT NULL) WITHOUT ROWID',
  // The deployed sync configs, see `configs.ts`, and what is or was evaluated, see `definitions.ts`.
  `
  CREATE TABLE configs (number INTEGER PRIMARY KEY, record TEXT NOT NULL, yaml TEXT NOT NULL);
  CREATE TABLE definitions (
    hash TEXT NOT NULL, generation INTEGER NOT NULL, state TEXT NOT NULL, bucket TEXT NOT NULL, serial INTEGER NOT NULL,
    PRIMARY KEY (hash, generation)
  ) WITHOUT ROWID;
  `,
  // What the last comparison found, see `differences.ts`.
  'CREATE TABLE differences (id TEXT PRIMARY KEY, number INTEGER NOT NULL, body TEXT NOT NULL) WITHOUT ROWID',
  // Slots of the outbox are overwritten, which writes one row less for each batch than deleting and inserting.
  `
  CREATE TABLE outbox_slots (slot INTEGER PRIMARY KEY, batch INTEGER NOT NULL, part INTEGER NOT NULL, body TEXT NOT NULL);
  INSERT INTO outbox_slots (batch, part, body) SELECT batch, part, body FROM outbox ORDER BY batch, part;
  DROP TABLE outbox;
  `,
  // From this step on row state has strong hashes and subkeys, see `row-state.ts`, and differences have ids by strong
  // hashes.
  { sql: 'DELETE FROM differences', breaks: true },
  // Objects to be erased, see `removals.ts`. Older code ignores them, and an object to which it writes meanwhile is not
  // erased.
  `CREATE TABLE removals (
    recorded INTEGER NOT NULL, due INTEGER NOT NULL, name TEXT NOT NULL, number INTEGER, up_to INTEGER NOT NULL, PRIMARY KEY (recorded, due, name)
  ) WITHOUT ROWID`,
  // Tokens that are refused, see `revocations.ts`. Older code ignores them, and refuses none.
  `CREATE TABLE revocations (
    kind TEXT NOT NULL, value TEXT NOT NULL, before INTEGER, until INTEGER, by_whom TEXT NOT NULL, at TEXT NOT NULL, PRIMARY KEY (kind, value)
  ) WITHOUT ROWID`,
]

/** Code that knows this many steps writes strong hashes, and gives each user a mailbox. */
export const STRONG_STEPS = 9

/**
 * How far the stream is stored: the position after the last whole transaction, and how much of the next one is stored
 * in slices.
 */
export interface Decode {
  counter: OpId
  position: StoredState | null
  partial: StoredState | null
}

/**
 * The stored form. It is in a row of its own, in the newest outbox row or with the commit, whichever is written anyway.
 * The highest `n` is the newest. Positions do not show that, because one may go back (another database).
 */
export type StoredDecode = Decode & { n: number }

/** The values of table `state`. */
export interface State {
  decode: Decode
  /**
   * `named` is the last notice as parts that are ready to send, or null when it was too large. (An older version stored
   * it as `notice`, with hashes in place of names; neither version reads the other's.) `batch` is the newest committed
   * batch: what the outbox has of it and of older ones is not used any more. `hold` is what is served during a hold, or
   * null when the commit is served. `published` is the checkpoint up to which all followed buckets had been notified
   * when it was stored.
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
  /** The plan that is being copied, or null when there is no deploy. */
  next: string | null
  /** The script's own sync config that was last processed: a hash of its text and of the limits. */
  script: string | null
  /** Progress of removing dropped definitions from row state, or null when there are none. */
  drop: { t: number; key: string; swept: boolean } | null
  /** The last comparison of source, row state and buckets with its progress, or null when there was none. */
  verify: Verifying | null
  /** The identity of the database, as its kind wrote it, or null before the first session. */
  source: StoredState | null
  /** True when the slot does not connect to what is stored, so that it is dropped before anything is read from it. */
  newSlot: boolean
  /** True while everything is compared after a slot was lost. Write checkpoints wait meanwhile. */
  comparing: boolean
  /** Write checkpoints that were issued while that was so, or before there was a slot. */
  owedWrites: OwedWrite[]
  /** What the source kept for us when it was last measured. */
  slot: HealthState | null
  /**
   * The number of consecutive failed sessions, and why the last one failed under which settings. An earlier version
   * does not store settings, and ignores them.
   */
  failing: { failures: number; code: ErrorCode; message: string; settings?: string } | null
  /** The id of this storage. Postgres identifies its sessions by it, and the names of its buckets begin with it. */
  id: string | null
  /** The key that signs our messages in the WAL, or null until it is needed. */
  markerKey: MarkerKey
  /** Numbers of write checkpoints up to this one may have been issued. */
  issued: number
  /** The number of consecutive polls that found nothing. */
  idlePolls: number
  /** The running session, or the last one when it ended by a crash or an error of ours. */
  running: Attempt | null
  /** Changes that killed the replicator, or may have. */
  suspects: Suspect[]
  /** The last round that removed unused buckets, or null when there was none. */
  round: Round | null
  /** When followed buckets were last asked whether they still are, in milliseconds since 1970. */
  followersAsked: number
  /** Buckets for which commits do not wait. An older version does not know of them. */
  fences: Fence[]
  /** The tables that the last session could not follow. An older version has them only in memory, and ignores this. */
  refused: Refused[]
  /**
   * True when an older release has run on this storage after this one, and what it left is not repaired yet: see
   * `returned.ts`. Older code ignores it.
   */
  returned: boolean
  /**
   * The state of the tenant, as the Directory has told it. Without a Directory it stays `active`. Older code ignores
   * it.
   */
  standing: Standing
  /** The version of the tenant that `standing` is of. */
  standingVersion: number
  /** When the tenant was suspended, in ms since 1970; 0 when it is not. */
  suspended: number
  /**
   * Sessions that come to nothing new, because a large transaction is sent from its beginning; null: none. Older code
   * ignores it.
   */
  passing: Passing | null
  /** What the tenant used on the last day on which it used anything. Older code ignores it. */
  usage: StoredUsage | null
  /** How much its buckets store; null: never asked. Older code ignores it. */
  storedSize: StoredSize | null
  /** Why there are no sessions, although the tenant is active; null: there are. Older code ignores it. */
  paused: Paused | null
  /** The number of the newest revocation of tokens, and of the last change of them that the Directory has told. */
  revoked: { revision: number; number: number }
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
  standing: 'active',
  standingVersion: 0,
  suspended: 0,
  passing: null,
  usage: null,
  storedSize: null,
  paused: null,
  revoked: { revision: 0, number: 0 },
}

/** A commit as it is stored. Members that were added later are missing in older ones. */
type StoredCommit = Omit<State['commit'], 'batch' | 'hold' | 'published'> & {
  batch?: number
  hold?: Hold | null
  published?: Serving | null
  decode?: StoredDecode
  notice?: unknown
}

/** The size of a storage's id. Its first 64 bits are the seed of names. */
const ID_BYTES = 14
const SEED = 16
/** The number of hexadecimal digits of an id, and of its seed, that an older version made. Such ids are kept. */
const SHORT_ID = 12
const SHORT_SEED = 6

/** The values of table `state`. Reads are served from memory, because the object is the only writer. */
export class StateStore {
  readonly #db: Database
  readonly #values: State
  /** True when an older release has begun a session, or committed something, since this one last did. */
  readonly ofOlder: boolean
  /** The number of the newest decode state. */
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
      standing: read('standing'),
      standingVersion: read('standingVersion'),
      suspended: read('suspended'),
      passing: read('passing'),
      usage: read('usage'),
      storedSize: read('storedSize'),
      paused: read('paused'),
      revoked: read('revoked'),
    }
    this.ofOlder = notice !== undefined || isOfOlder(read('running'))
    const { n = 0, ...decode }: Decode & { n?: number } = this.#values.decode
    this.#n = n
    this.#values.decode = decode
    if (committed) this.restoreDecode(committed)
  }

  get<K extends keyof State>(key: K): State[K] {
    return this.#values[key]
  }

  /**
   * Stores a value. Writes one row. When its transaction is rolled back, memory and storage differ, and the object must
   * be reset.
   */
  set<K extends keyof State>(key: K, value: State[K]): void {
    this.#values[key] = value
    if (key === 'decode') this.#n++
    this.#db.run(STATEMENTS.set, key, JSON.stringify(this.#stored(key)))
  }

  /** Returns the id of this storage. The first call makes it. */
  storageId(): string {
    const id = this.#values.id ?? Buffer.from(crypto.getRandomValues(new Uint8Array(ID_BYTES))).toString('hex')
    if (this.#values.id === null) this.set('id', id)
    return id
  }

  /** Returns the seed of the names of this storage's buckets. */
  seed(): string {
    const id = this.storageId()
    return id.slice(0, id.length === SHORT_ID ? SHORT_SEED : SEED)
  }

  /** Sets the decode state of a batch that is about to be stored in the outbox, together with it. Writes no row. */
  advance(decode: Decode): StoredDecode {
    this.#values.decode = decode
    return { ...decode, n: ++this.#n }
  }

  /** Takes over a decode state that was stored elsewhere. */
  restoreDecode({ n, ...decode }: StoredDecode): void {
    if (n <= this.#n) return
    this.#n = n
    this.#values.decode = decode
  }

  #stored(key: keyof State): unknown {
    const decode: StoredDecode = { ...this.#values.decode, n: this.#n }
    if (key === 'decode') return decode
    // The commit may drop the outbox row that holds it.
    if (key === 'commit') return { ...this.#values.commit, decode }
    return this.#values[key]
  }
}

export const STATEMENTS = {
  set: 'INSERT INTO state VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value',
} as const
