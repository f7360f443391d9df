import { createRockpool, sql } from '@rockpool/client'
import { boolean, defineSchema, table, text } from '@rockpool/client/schema'

// An application outside of the repository, as its bundler finds it. `title` says what it came to.

const schema = defineSchema({ todos: table({ title: text(), done: boolean().default(false) }) })
const db = createRockpool({
  schema,
  name: 'todos',
  url: location.origin,
  user: 'ann',
  token: () => Promise.reject(new Error('nobody is signed in')),
})

async function run(): Promise<void> {
  const { value: id } = await db.todos.insert({ title: 'Lemons' })
  const todo = await db.todos.get(id)
  const rows = await db.query(sql<{ n: number }>`SELECT count(*) AS n FROM todos`)
  document.title = `${todo?.title} ${rows[0]?.n} ${db.status.storage.state} ${crossOriginIsolated}`
}
run().catch((error: unknown) => (document.title = `failed: ${String(error)}`))
