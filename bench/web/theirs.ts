import { column, PowerSyncDatabase, Schema, SyncStreamConnectionMethod, Table } from '@powersync/web'
import { WebBench } from './page.ts'

// A page with PowerSync's client, as its documentation sets it up.

const WORKER = '/worker/worker.js'
const db = new PowerSyncDatabase({
  schema: new Schema({
    items: new Table(
      { shelf: column.integer, title: column.text, body: column.text, done: column.integer, created_at: column.text },
      { indexes: { by_title: ['title'] } },
    ),
    notes: new Table({ body: column.text }),
  }),
  database: { dbFilename: 'bench.db', worker: WORKER },
  sync: { worker: WORKER },
})
const endpoint = new URLSearchParams(location.search).get('edge') ?? ''

window.firstRows = null
window.web = new WebBench({
  connect: () =>
    db.connect(
      {
        fetchCredentials: async () => ({ endpoint, token: await (await fetch('/token')).text() }),
        uploadData: async (from) => {
          for (let tx = await from.getNextCrudTransaction(); tx; tx = await from.getNextCrudTransaction())
            await tx.complete()
        },
      },
      { connectionMethod: SyncStreamConnectionMethod.WEB_SOCKET },
    ),
  query: (sql, params) => db.getAll(sql, params),
  follow: (sql, params, told) =>
    db.watchWithCallback(sql, params, { onResult: (result) => told(result.rows?._array ?? []) }, { throttleMs: 0 }),
  write: async (sql, params) => void (await db.execute(sql, params)),
})
void window.web.first()
