import postgres from 'postgres'
import type { CallName, Calls, OpenAsk, Opened, Question, Reply, Totals } from './calls.ts'
import { now } from './clock.ts'
import { SyncClient } from './stream.ts'

// The clients of a benchmark, in a process of their own, so that they do not use the event loop that measures.

interface Group {
  ask: OpenAsk
  clients: SyncClient[]
}

const groups = new Map<string, Group>()

const handlers: { [N in CallName]: (ask: Calls[N]['ask']) => Promise<Calls[N]['answer']> } = {
  async open(ask) {
    const { url, transport, verify = false } = ask
    const clients = ask.clients.map(
      ({ token, clientId }) => new SyncClient({ url, transport, token, clientId, verify }),
    )
    const group = { ask, clients }
    groups.set(ask.group, group)
    return openAll(group, ask.together)
  },

  async resume({ group }) {
    const { clients } = groupOf(group)
    for (const client of clients) client.close()
    return openAll(groupOf(group), clients.length)
  },

  async reach({ group, ops }) {
    const { clients } = groupOf(group)
    const completed = await Promise.all(
      clients.map((client) => until(client, () => client.completedOps >= ops && client.completed)),
    )
    return { completed }
  },

  totals: async ({ group }) => totalsOf(groupOf(group).clients),

  async close({ group }) {
    for (const client of groupOf(group).clients) client.close()
    groups.delete(group)
    return {}
  },

  async latencies({ group, databaseUrl, statement, times }) {
    const client = onlyOne(group)
    const sql = postgres(databaseUrl, { max: 1, onnotice: () => {} })
    const values: number[] = []
    try {
      await sql`select 1`
      for (let n = 0; n < times; n++) {
        const ops = client.ops + 1
        await sql.unsafe(statement)
        const committed = now()
        const completed = await until(client, () => client.completedOps >= ops && client.completed)
        values.push(Math.max(0, completed - committed))
      }
    } finally {
      await sql.end()
    }
    return { values }
  },

  async writeCheckpoints({ group, times }) {
    const client = onlyOne(group)
    const { url, clients } = groupOf(group).ask
    const { token, clientId } = clients[0] ?? { token: '' }
    const values: number[] = []
    for (let n = 0; n < times; n++) {
      const asked = now()
      const response = await fetch(`${url}/write-checkpoint2.json?client_id=${clientId}`, {
        headers: { authorization: `Token ${token}` },
      })
      const body: { data?: { write_checkpoint: string } } = await response.json()
      if (!body.data) throw new Error(`the write checkpoint was answered ${response.status}`)
      const number = BigInt(body.data.write_checkpoint)
      const completed = await until(client, () => client.completedWrite >= number && client.completed)
      values.push(completed - asked)
    }
    return { values }
  },
}

async function openAll({ clients }: Group, together: number): Promise<Opened> {
  const started = now()
  let next = 0
  const before = clients.map((client) => client.completes)
  const lane = async (): Promise<void> => {
    for (let i = next++; i < clients.length; i = next++) {
      const client = clients[i]
      if (!client) return
      client.open()
      await until(client, () => client.completes > (before[i] ?? 0) && client.completed)
    }
  }
  await Promise.all(Array.from({ length: Math.min(together, clients.length) }, lane))
  return {
    started,
    announced: Math.min(...clients.map((client) => client.announced ?? Infinity)),
    completed: clients.map((client) => client.completed ?? Infinity),
    totals: totalsOf(clients),
  }
}

/** Resolves with the number that `reached` returns. Rejects when the stream has ended. */
function until(client: SyncClient, reached: () => number | null | false): Promise<number> {
  return new Promise((resolve, reject) => {
    const look = (): void => {
      const answer = reached()
      const failed = client.problem ?? client.ended
      if (answer === false || answer === null) {
        if (failed === null) return
        reject(new Error(failed))
      } else if (client.problem !== null) reject(new Error(client.problem))
      else resolve(answer)
      client.changed = () => {}
    }
    client.changed = look
    look()
  })
}

function totalsOf(clients: readonly SyncClient[]): Totals {
  const sum = (of: (client: SyncClient) => number): number => clients.reduce((total, client) => total + of(client), 0)
  return {
    ops: sum((client) => client.ops),
    bytes: sum((client) => client.bytes),
    received: sum((client) => client.received),
    announced: sum((client) => client.count),
    buckets: sum((client) => client.buckets),
    completes: sum((client) => client.completes),
  }
}

function groupOf(name: string): Group {
  const group = groups.get(name)
  if (!group) throw new Error(`there is no group ${name}`)
  return group
}

function onlyOne(name: string): SyncClient {
  const { clients } = groupOf(name)
  const [client] = clients
  if (!client || clients.length > 1) throw new Error(`${name} is not one client`)
  return client
}

async function answer(question: Question): Promise<unknown> {
  switch (question.call) {
    case 'open':
      return handlers.open(question.ask)
    case 'resume':
      return handlers.resume(question.ask)
    case 'reach':
      return handlers.reach(question.ask)
    case 'totals':
      return handlers.totals(question.ask)
    case 'close':
      return handlers.close(question.ask)
    case 'latencies':
      return handlers.latencies(question.ask)
    case 'writeCheckpoints':
      return handlers.writeCheckpoints(question.ask)
  }
}

process.on('message', (text) => {
  const question: Question = JSON.parse(String(text))
  const reply = (message: Reply): void => void process.send?.(JSON.stringify(message))
  answer(question).then(
    (result) => reply({ id: question.id, answer: result }),
    (error: unknown) => reply({ id: question.id, error: error instanceof Error ? error.message : String(error) }),
  )
})
process.on('disconnect', () => process.exit())
