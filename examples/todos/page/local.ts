import { createRockpool, SignedOut, type Rockpool } from '@rockpool/client'
import { boolean, defineSchema, table, text, timestamp, type RowOf } from '@rockpool/client/schema'

// The local database of a person: what is in it, and how it reaches the others.

/** The URL of Rockpool, which the server inserts. */
declare const ENDPOINT: string

const now = (): string => new Date().toISOString()

const schema = defineSchema({
  lists: table({
    name: text(),
    owner_id: text(),
    shared: boolean().default(false),
    created_at: timestamp().default(now),
  }),
  todos: table(
    {
      list_id: text(),
      title: text(),
      done: boolean().default(false),
      owner_id: text(),
      shared: boolean().default(false),
      created_at: timestamp().default(now),
    },
    { indexes: { by_list: ['list_id'] } },
  ),
})

export type List = RowOf<typeof schema, 'lists'>
export type Todo = RowOf<typeof schema, 'todos'>
export type Local = Rockpool<typeof schema>

/** Each person has a database of their own, which nobody else can open. It opens itself when it is first used. */
export function localDatabase(user: string, connect: boolean): Local {
  return createRockpool({
    schema,
    name: 'todos',
    // That of the page before.
    oldName: `todos-${user}`,
    url: ENDPOINT,
    user,
    connect,
    token: () => token(user),
    upload: '/api/upload',
    worker: '/rockpool-worker.js',
  })
}

async function token(user: string): Promise<string> {
  const response = await fetch('/api/token', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ user }),
  })
  // Other problems may be temporary.
  if (response.status === 400) throw new SignedOut(`the server does not know ${user}`)
  if (!response.ok) throw new Error(`no token: ${response.status}`)
  const body: { token: string } = await response.json()
  return body.token
}
