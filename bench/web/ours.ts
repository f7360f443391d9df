import { createRockpool } from '../../client/src/api/browser.ts'
import { boolean, defineSchema, integer, table, text, timestamp } from '../../client/src/schema.ts'
import type { SqlParam } from '../../client/src/types.ts'
import { WebBench } from './page.ts'

// A page with our client.

const schema = defineSchema({
  items: table(
    { shelf: integer(), title: text(), body: text(), done: boolean(), created_at: timestamp() },
    { indexes: { by_title: ['title'] } },
  ),
  notes: table({ body: text() }),
})

const given = new URLSearchParams(location.search)
const db = createRockpool({
  schema,
  name: 'bench',
  user: given.get('user') ?? '',
  url: given.get('edge') ?? '',
  token: async () => (await fetch('/token')).text(),
  upload: '/upload',
  worker: '/rockpool-worker.js',
  connect: false,
})

window.firstRows = null
window.web = new WebBench({
  connect: () => db.connect(),
  query: (sql, params) => db.query({ sql, params: params as SqlParam[] }),
  follow: (sql, params, told) => void db.live(sql, params as SqlParam[], told),
  write: async (sql, params) => void (await db.batch([{ sql, params: params as SqlParam[] }])),
})
void window.web.first()
