import { afterEach, expect, test, vi } from 'vitest'
import { Engine } from '../core/engine.ts'
import { openNodeSqlite } from '../node-sqlite.ts'
import { unsigned } from '../test-service.ts'
import { Owner } from './owner.ts'
import { tabLock, type Call, type OwnerMessage, type TabMessage } from './messages.ts'

// The owner's side of the channel between tabs, with Node's BroadcastChannel and locks.

const name = 'owner-test'
const channels: BroadcastChannel[] = []
const eventually = { timeout: 20_000 }
const gone = new Map<string, () => void>()
const engines: Engine[] = []
afterEach(async () => {
  for (const go of gone.values()) go()
  gone.clear()
  for (const engine of engines.splice(0)) await engine.close()
  for (const channel of channels.splice(0)) channel.close()
})

/** A tab that lives until it is closed. */
async function live(tab: string): Promise<void> {
  await new Promise<void>((held) => {
    void navigator.locks.request(tabLock(name, tab), () => {
      held()
      return new Promise<void>((resolve) => gone.set(tab, resolve))
    })
  })
}

/** Consecutive owners of one database, and the messages that tabs receive. */
function setUp(): {
  heard: OwnerMessage[]
  own(): Promise<string>
  ask(owner: string, tab: string, id: number, request: Call): void
  wake(tab: string): void
} {
  const tabs = new BroadcastChannel(name)
  channels.push(tabs)
  const heard: OwnerMessage[] = []
  tabs.addEventListener('message', ({ data }: MessageEvent<OwnerMessage>) => heard.push(data))
  return {
    heard,
    async own() {
      const schema = { tables: { todos: { columns: { title: 'text' } } } } as const
      const options = {
        url: 'http://127.0.0.1:1',
        schema,
        connect: false,
        user: 'alice',
        auth: () => unsigned('alice'),
      }
      const engine = new Engine(openNodeSqlite(':memory:'), options, { kind: 'memory' })
      engines.push(engine)
      const channel = new BroadcastChannel(name)
      channels.push(channel)
      heard.length = 0
      new Owner({ engine, channel, name, tab: 'owner' })
      await expect
        .poll(() => heard.find((message) => 'owner' in message && 'status' in message), eventually)
        .toBeDefined()
      const first = heard.find((message) => 'owner' in message)
      return first && 'owner' in first ? first.owner : ''
    },
    wake(tab) {
      const message: TabMessage = { to: 'owner', tab, wake: true }
      tabs.postMessage(message)
    },
    ask(owner, tab, id, request) {
      const message: TabMessage = { to: 'owner', owner, tab, user: 'alice', id, request }
      tabs.postMessage(message)
    },
  }
}

const results = (heard: OwnerMessage[]) =>
  heard.filter((message) => 'result' in message || ('problem' in message && 'id' in message))

test('a call for an earlier owner is ignored: the tab sends it again, and it is done once', async () => {
  const { heard, own, ask } = setUp()
  const owner = await own()
  await live('tab')
  ask('the one before', 'tab', 1, { call: 'begin', write: 'w' })
  ask(owner, 'tab', 1, { call: 'begin', write: 'w' })
  await expect.poll(() => results(heard).length, eventually).toBe(1)
  // Only that transaction holds the turn: when it ends, the next call is answered.
  const [begun] = results(heard)
  const tx = begun && 'result' in begun ? String(begun.result) : ''
  ask(owner, 'tab', 2, { call: 'commit', tx, write: 'w' })
  ask(owner, 'tab', 3, { call: 'query', sql: 'SELECT 1 AS one', params: [] })
  await expect.poll(() => results(heard).length, eventually).toBe(3)
  expect(results(heard)).toContainEqual({ to: 'tab', tab: 'tab', id: 3, result: [{ one: 1 }] })
})

test('a transaction belongs to the tab that began it', async () => {
  const { heard, own, ask } = setUp()
  const owner = await own()
  await live('mine')
  await live('other')
  ask(owner, 'mine', 1, { call: 'begin', write: 'w' })
  await expect.poll(() => results(heard).length, eventually).toBe(1)
  const [begun] = results(heard)
  const tx = begun && 'result' in begun ? String(begun.result) : ''
  expect(tx.startsWith(owner)).toBe(true)
  ask(owner, 'other', 1, { call: 'execute', tx, sql: "INSERT INTO todos (id) VALUES ('other')", params: [] })
  ask(owner, 'other', 2, { call: 'commit', tx, write: 'v' })
  await expect.poll(() => results(heard).filter((message) => 'problem' in message).length, eventually).toBe(2)
  ask(owner, 'mine', 2, { call: 'rollback', tx })
  await expect.poll(() => results(heard).length, eventually).toBe(4)
})

test('the outcome of a write is known by its name, also when it changed nothing, but not after a rollback', async () => {
  const { heard, own, ask } = setUp()
  const owner = await own()
  await live('tab')
  let id = 0
  const answer = async (request: Call): Promise<unknown> => {
    const of = ++id
    ask(owner, 'tab', of, request)
    const found = () => heard.find((message) => 'id' in message && message.id === of)
    await expect.poll(found, eventually).toBeDefined()
    const message = found()
    return message && 'result' in message ? message.result : message
  }
  for (const [write, sql] of [
    ['stored', "INSERT INTO todos (id) VALUES ('a')"],
    ['nothing', "DELETE FROM todos WHERE id = 'nobody'"],
  ] as const) {
    const tx = String(await answer({ call: 'begin', write }))
    await answer({ call: 'execute', tx, sql, params: [] })
    await answer({ call: 'commit', tx, write })
  }
  const tx = String(await answer({ call: 'begin', write: 'taken back' }))
  await answer({ call: 'execute', tx, sql: "INSERT INTO todos (id) VALUES ('b')", params: [] })
  await answer({ call: 'rollback', tx })
  const fates = []
  for (const write of ['stored', 'nothing', 'taken back', 'unheard of'])
    fates.push(await answer({ call: 'fate', write }))
  expect(fates).toEqual([true, true, false, false])
})

test('a tab that closes while it waits for its turn blocks nobody', async () => {
  const { heard, own, ask } = setUp()
  const owner = await own()
  await live('first')
  await live('second')
  ask(owner, 'first', 1, { call: 'begin', write: 'w' })
  await expect.poll(() => results(heard).length, eventually).toBe(1)
  ask(owner, 'second', 1, { call: 'begin', write: 'v' })
  gone.get('second')?.()
  const [begun] = results(heard)
  ask(owner, 'first', 2, { call: 'commit', tx: begun && 'result' in begun ? String(begun.result) : '', write: 'w' })
  ask(owner, 'first', 3, { call: 'query', sql: 'SELECT 1 AS one', params: [] })
  await expect
    .poll(() => results(heard), eventually)
    .toContainEqual({ to: 'tab', tab: 'first', id: 3, result: [{ one: 1 }] })
})

test('a tab that becomes visible, or is online again, wakes the engine', async () => {
  const { own, wake } = setUp()
  await own()
  const woken = vi.spyOn(engines[0] ?? Engine.prototype, 'wake')
  wake('tab')
  await expect.poll(() => woken.mock.calls.length, eventually).toBe(1)
})
