// What the test of lost slots writes, one transaction after the other, and every state that the database was in. Each
// transaction says its serial in the one row of `clock`, so that what a client shows says which state it should be.

export const SCOPES = ['s1', 's2', 's3']
export const ROWS = 60
export const LARGE = 20

export const TABLES = `
create table acc (id int primary key, scope text not null, serial int not null);
create table big (id int primary key, scope text not null, serial int not null, body text not null);
create table clock (id int primary key, serial int not null);
create table filler (id int primary key, kind text not null, v text not null);
create table people (id text primary key, user_id text not null, scope text not null);
create table zed (id int primary key, scope text not null, serial int not null);
alter table big alter column body set storage external;
insert into clock values (1, 0);
insert into acc select n, 's' || (n % 3 + 1), 0 from generate_series(1, ${ROWS}) n;
insert into zed select n, 's' || (n % 3 + 1), 0 from generate_series(1, ${ROWS}) n;
insert into big select n, 's' || (n % 3 + 1), 0, repeat('0,', 4000) from generate_series(1, ${LARGE}) n;
insert into people select u || s, u, 's' || s from unnest(array['alice', 'mallory']) u, generate_series(1, 3) s;
`

const mine = 'WHERE scope IN (SELECT scope FROM people WHERE user_id = auth.user_id())'
/** `filler` takes long to compare and gives nothing. */
export const SYNC_CONFIG = `
config:
  edition: 3
streams:
  rows:
    auto_subscribe: true
    queries:
      - SELECT id, scope, serial FROM acc ${mine}
      - SELECT id, scope, serial, body FROM big ${mine}
      - SELECT id, scope, serial FROM zed ${mine}
  clock:
    auto_subscribe: true
    query: SELECT id, serial FROM clock
  nothing:
    auto_subscribe: true
    query: SELECT id FROM filler WHERE kind = 'never'
`

/** Rows as `table/id` → what is compared of them. */
export type Rows = ReadonlyMap<string, string>
type Change = [key: string, text: string | null]

/** Of a large value its beginning says which one it is. */
export const textOf = ({ scope, serial, body }: Record<string, unknown>): string =>
  [
    ...(scope === undefined || scope === null ? [] : [scope]),
    serial,
    ...(body === undefined || body === null ? [] : [String(body).slice(0, 12), String(body).length]),
  ].join(' ')

/** The value that a transaction writes. */
const bodyOf = (serial: number): string => `${serial},`.repeat(4_000)

export class History {
  readonly #changes: Change[][] = []
  /** The newest transaction. */
  serial = 0

  constructor() {
    const scopeOf = (n: number) => `s${(n % 3) + 1}`
    const first: Change[] = [['clock/1', textOf({ serial: 0 })]]
    for (let n = 1; n <= ROWS; n++)
      for (const table of ['acc', 'zed']) first.push([`${table}/${n}`, textOf({ scope: scopeOf(n), serial: 0 })])
    for (let n = 1; n <= LARGE; n++)
      first.push([`big/${n}`, textOf({ scope: scopeOf(n), serial: 0, body: '0,'.repeat(4_000) })])
    for (const user of ['alice', 'mallory']) for (const scope of SCOPES) first.push([`people/${user} ${scope}`, scope])
    this.#changes.push(first)
    this.#bodies = new Map(Array.from({ length: LARGE }, (_, n) => [n + 1, '0,'.repeat(4_000)]))
  }

  readonly #bodies: Map<number, string>

  /**
   * The statements of the next transaction, which is known from now on: a client may show it as soon as they are sent.
   */
  next(what: {
    acc?: number[]
    zed?: number[]
    big?: number[]
    bodies?: number[]
    leave?: [user: string, scope: string]
  }): string {
    const serial = ++this.serial
    const changes: Change[] = [['clock/1', textOf({ serial })]]
    const statements = [`update clock set serial = ${serial}`]
    const scopeOf = (n: number) => `s${(n % 3) + 1}`
    for (const table of ['acc', 'zed'] as const) {
      for (const n of what[table] ?? []) {
        changes.push([`${table}/${n}`, textOf({ scope: scopeOf(n), serial })])
        statements.push(`update ${table} set serial = ${serial} where id = ${n}`)
      }
    }
    for (const n of what.bodies ?? []) {
      this.#bodies.set(n, bodyOf(serial))
      statements.push(`update big set serial = ${serial}, body = repeat('${serial},', 4000) where id = ${n}`)
    }
    // The large value is left alone, so Postgres does not send it.
    for (const n of what.big ?? []) statements.push(`update big set serial = ${serial} where id = ${n}`)
    for (const n of [...(what.bodies ?? []), ...(what.big ?? [])])
      changes.push([`big/${n}`, textOf({ scope: scopeOf(n), serial, body: this.#bodies.get(n) })])
    if (what.leave) {
      const [user, scope] = what.leave
      changes.push([`people/${user} ${scope}`, null])
      statements.push(`delete from people where user_id = '${user}' and scope = '${scope}'`)
    }
    this.#changes.push(changes)
    return statements.join(';')
  }

  /** A reader of states that goes forward only. */
  viewer(user: string): Viewer {
    return new Viewer(this.#changes, user)
  }
}

/** What one user should see. */
export class Viewer {
  readonly #changes: readonly Change[][]
  readonly #user: string
  readonly #rows = new Map<string, string>()
  #at = -1
  readonly problems: string[] = []
  /** States that were shown. */
  checked = 0
  /** The last of them. */
  serial = -1

  constructor(changes: readonly Change[][], user: string) {
    this.#changes = changes
    this.#user = user
  }

  /** Compares what a client shows with the state of the database that its clock names. */
  check(what: string, shown: Rows): void {
    const clock = shown.get('clock/1')
    if (clock === undefined) return void this.problems.push(`${what}: it shows no clock`)
    const serial = Number(clock)
    if (serial < this.#at) return void this.problems.push(`${what}: it went back from ${this.#at} to ${serial}`)
    this.checked++
    this.serial = serial
    for (; this.#at < serial; this.#at++) {
      for (const [key, text] of this.#changes[this.#at + 1] ?? []) {
        if (text === null) this.#rows.delete(key)
        else this.#rows.set(key, text)
      }
    }
    const truth = this.#visible()
    const wrong = [...new Set([...truth.keys(), ...shown.keys()])].filter((key) => truth.get(key) !== shown.get(key))
    if (wrong.length === 0) return
    const few = wrong.slice(0, 3).map((key) => `${key} is ${shown.get(key)}, not ${truth.get(key)}`)
    this.problems.push(`${what} at ${serial}: ${wrong.length} rows are of no or another state: ${few.join('; ')}`)
  }

  #visible(): Map<string, string> {
    const scopes = new Set(
      [...this.#rows].flatMap(([key, text]) => (key.startsWith(`people/${this.#user} `) ? [text] : [])),
    )
    return new Map(
      [...this.#rows].filter(
        ([key, text]) => !key.startsWith('people/') && (key === 'clock/1' || scopes.has(text.split(' ')[0] ?? '')),
      ),
    )
  }
}
