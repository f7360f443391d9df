import { SignJWT } from 'jose'
import { startEdge, type Edge, type EdgeSettings } from '../support/edge.ts'
import { startPostgres, type TestPostgres } from '../support/postgres.ts'
import type { ReplicatorStatus } from '../../protocol/messages/status.ts'
import type { heldStatus } from '../../workers/stream/held.ts'
import type { SyncLine } from '../../protocol/lines.ts'
import { Applied, HttpLines } from '../wire/lines.ts'
import { AUDIENCE, newSecret, temporaryDirectory, token, until } from '../support/support.ts'
import type { ClientKind, ClientOptions, ScenarioClient, UploadedOp } from './client.ts'

/** Buckets that a client may have. */
export const BUCKETS = 1_000
/** Rooms of the user who has exactly that many buckets: `news` and his notes are two. */
export const ROOMS = BUCKETS - 2

const SCHEMA = `
create table news (id text primary key, title text not null);
create table notes (id text primary key, owner_id text not null, body text not null);
create table members (id text primary key, team_id text not null, user_id text not null);
create table tasks (id text primary key, team_id text not null, title text not null);
create table lists (id text primary key, owner_id text not null);
create table items (id text primary key, list_id text not null, name text not null);
create table kinds (id text primary key, owner_id text not null, i8 int8, f8 float8, yes boolean, price numeric, doc jsonb, bytes bytea, at timestamptz);
create table room_members (id text primary key, room_id text not null, user_id text not null);
create table room_rows (id text primary key, room_id text not null, body text not null);
insert into news values ('n1', 'Opened');
insert into tasks select 't' || n, case when n % 2 = 0 then 'red' else 'blue' end, 'task ' || n from generate_series(1, 10) n;
insert into lists select 'l' || n, 'everybody' from generate_series(1, 3) n;
insert into items select 'i' || n, 'l' || (n % 3 + 1), 'item ' || n from generate_series(1, 30) n;
`

const SYNC_CONFIG = `
config:
  edition: 3
streams:
  news:
    auto_subscribe: true
    priority: 0
    query: SELECT id, title FROM news
  notes:
    auto_subscribe: true
    query: SELECT id, owner_id, body FROM notes WHERE owner_id = auth.user_id()
  tasks:
    auto_subscribe: true
    priority: 1
    query: SELECT id, team_id, title FROM tasks WHERE team_id IN (SELECT team_id FROM members WHERE user_id = auth.user_id())
  items:
    query: SELECT id, list_id, name FROM items WHERE list_id = subscription.parameter('list')
  all_items:
    priority: 2
    query: SELECT id, list_id, name FROM items
  kinds:
    query: SELECT * FROM kinds WHERE owner_id = auth.user_id()
  rooms:
    auto_subscribe: true
    query: SELECT id, room_id, body FROM room_rows WHERE room_id IN (SELECT room_id FROM room_members WHERE user_id = auth.user_id())
`

/** A database, an edge, and clients of one kind at a time. */
export class Setting {
  readonly secret = newSecret()
  readonly #opened: ScenarioClient[] = []
  #names = 0

  readonly directory: Awaited<ReturnType<typeof temporaryDirectory>>
  readonly postgres: TestPostgres
  readonly edge: Edge

  private constructor(directory: Setting['directory'], postgres: TestPostgres, edge: Edge, secret: string) {
    this.directory = directory
    this.postgres = postgres
    this.edge = edge
    this.secret = secret
  }

  /** `serve` gives the edge: one of its own, or a tenant of one. */
  static async start(
    bindings: Record<string, string> = {},
    serve: (settings: EdgeSettings) => Promise<Edge> = startEdge,
  ): Promise<Setting> {
    const secret = newSecret()
    const directory = await temporaryDirectory()
    const postgres = await startPostgres()
    await postgres.sql().unsafe(SCHEMA)
    const edge = await serve({
      databaseUrl: postgres.url,
      jwtSecret: secret,
      jwtAudience: AUDIENCE,
      syncConfig: SYNC_CONFIG,
      directory: `${directory.path}/edge`,
      bindings,
    })
    const setting = new Setting(directory, postgres, edge, secret)
    await until(
      'the first copy',
      async () => (await setting.status()).plan !== null,
      120,
      () => setting.status(),
    )
    return setting
  }

  async status(): Promise<ReplicatorStatus & { streams: ReturnType<typeof heldStatus> }> {
    const operator = await token(this.secret, 'ops', 60, { operator: true })
    const response = await fetch(`${this.edge.url}/status`, { headers: { authorization: `Token ${operator}` } })
    const { data }: { data: ReplicatorStatus & { streams: ReturnType<typeof heldStatus> } } = await response.json()
    return data
  }

  async end(): Promise<void> {
    await this.edge.dispose()
    await this.postgres.stop()
    await this.directory.remove()
  }

  /** Nobody has this name yet. */
  newUser(): string {
    return `user${++this.#names}`
  }

  token(user: string, seconds = 3_600): Promise<string> {
    return token(this.secret, user, seconds)
  }

  /** Signed with another key: refused. */
  async badToken(user: string): Promise<string> {
    return new SignJWT({})
      .setProtectedHeader({ alg: 'HS256' })
      .setSubject(user)
      .setAudience(AUDIENCE)
      .setIssuedAt()
      .setExpirationTime('1h')
      .sign(Buffer.from(newSecret(), 'base64url'))
  }

  async writeCheckpoint(user: string, clientId: string): Promise<string> {
    const response = await fetch(`${this.edge.url}/write-checkpoint2.json?client_id=${clientId}`, {
      headers: { authorization: `Bearer ${await this.token(user)}` },
    })
    if (response.status !== 200) throw new Error(`${response.status} ${await response.text()}`)
    const { data }: { data: { write_checkpoint: string } } = await response.json()
    if (!/^[1-9]\d*$/.test(data.write_checkpoint)) throw new Error(JSON.stringify(data))
    return data.write_checkpoint
  }

  /** What `user` gets in a first checkpoint, and an end. */
  async first(user: string, body: object = { raw_data: true }): Promise<SyncLine[]> {
    const stream = await HttpLines.open(this.edge.url, await this.token(user), body)
    const lines = await stream.until('checkpoint_complete')
    stream.close()
    return lines
  }

  /** Everything that is in Postgres now is in the checkpoints of streams that are opened from now on. */
  async replicated(): Promise<void> {
    const marker = await this.writeCheckpoint('nobody', 'marker')
    const body = { client_id: 'marker', streams: { include_defaults: false, subscriptions: [] } }
    const stream = await HttpLines.open(this.edge.url, await this.token('nobody'), body)
    const applied = new Applied()
    while (BigInt(applied.writeCheckpoint ?? 0) < BigInt(marker))
      for (const line of await stream.until('checkpoint_complete')) applied.add(line)
    stream.close()
  }

  /** A row in each room, and so an object for each: made when they are wanted. */
  async fillRooms(): Promise<void> {
    await this.postgres.sql()`
      insert into room_rows select 'r' || n, 'room' || n, 'body ' || n from generate_series(1, ${ROOMS + 1}::int) n on conflict do nothing`
  }

  /** A client of its own local database, not connected yet. */
  async open(kind: ClientKind, user: string, given: Partial<ClientOptions> = {}): Promise<ScenarioClient> {
    const client = await kind.open({
      name: `${user}-${kind.name.replace(/\W+/g, '-')}`,
      endpoint: this.edge.url,
      token: () => this.token(user),
      upload: (ops) => this.store(ops),
      ...given,
    })
    this.#opened.push(client)
    return client
  }

  async connected(kind: ClientKind, user: string, given: Partial<ClientOptions> = {}): Promise<ScenarioClient> {
    const client = await this.open(kind, user, given)
    await client.connect()
    await client.synced()
    return client
  }

  async closeClients(): Promise<void> {
    for (const client of this.#opened.splice(0)) await client.close()
  }

  /**
   * The application's backend: notes only. What it stores differs from what the client wrote, so that it can be seen to
   * come back.
   */
  async store(ops: UploadedOp[]): Promise<void> {
    await this.postgres.sql().begin(async (sql) => {
      for (const { op, table, id, data } of ops) {
        if (table !== 'notes') throw new Error(`${table} cannot be written`)
        if (op === 'DELETE') await sql`delete from notes where id = ${id}`
        else if (op === 'PATCH') await sql`update notes set body = ${`${String(data.body)} (stored)`} where id = ${id}`
        else
          await sql`insert into notes values (${id}, ${String(data.owner_id)}, ${`${String(data.body)} (stored)`}) on conflict (id) do nothing`
      }
    })
  }
}
