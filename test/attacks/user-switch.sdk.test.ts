import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { openSync } from '../../client/src/node.ts'
import type { NodeSyncOptions, SyncDatabase } from '../../client/src/types.ts'
import { until } from '../support/support.ts'
import { Notes } from './device-owners.ts'

// Bob opens the device that Alice has used and left. Her rows are not his to read, and her unsent writes are not his to
// send.

let notes: Notes
const opened: SyncDatabase[] = []
let devices = 0
let device = ''

beforeAll(async () => void (notes = await Notes.start()))
afterAll(() => notes?.end())
beforeEach(async () => {
  device = join(notes.directory.path, `device-${++devices}`)
  await notes.prepare()
})
afterEach(async () => {
  for (const db of opened.splice(0)) await db.close()
})

async function open(token: string, options: Partial<NodeSyncOptions> = {}): Promise<SyncDatabase> {
  const db = await openSync({
    url: notes.edge.url,
    uploadUrl: `${notes.backend.url}/upload`,
    path: `${device}.db`,
    auth: () => notes.token(token),
    schema: { tables: { notes: { columns: { owner_id: 'text', body: 'text' } } } },
    ...options,
  })
  opened.push(db)
  return db
}

const bodies = async (db: SyncDatabase) =>
  (await db.query<{ body: string }>('SELECT body FROM notes ORDER BY id')).map(({ body }) => body)
const shows = (db: SyncDatabase, wanted: string[]) =>
  until(
    'the rows',
    async () => JSON.stringify(await bodies(db)) === JSON.stringify(wanted),
    120,
    async () => [await bodies(db), db.status],
  )

/** Alice has her note, writes another one offline, and closes the application without signing out. */
async function aliceLeaves(named: boolean): Promise<void> {
  const alice = await open('alice', named ? { user: 'alice' } : {})
  await shows(alice, ['her PIN is 4711'])
  await alice.disconnect()
  await alice.write((tx) => tx.execute("INSERT INTO notes (id, owner_id, body) VALUES ('c', 'alice', 'my bank is …')"))
  await alice.close()
}

test.each([
  ['both say who they are', true, { user: 'bob' }],
  ['only the tokens say it', false, {}],
])('%s: he reads nothing of hers, sends nothing of hers, and she finds everything again', async (_, named, options) => {
  await aliceLeaves(named)
  const bob = await open('bob', options)
  await expect(bob.query('SELECT * FROM notes')).rejects.toMatchObject({ code: 'other_user' })
  await expect(bob.write((tx) => tx.execute('DELETE FROM notes'))).rejects.toMatchObject({ code: 'other_user' })
  const live = await new Promise((resolve) => bob.live('SELECT * FROM notes', [], resolve, resolve))
  expect(live).toMatchObject({ code: 'other_user' })
  await until('it to be told', async () => bob.status.state === 'needs-auth' && bob.status.error.code === 'other_user')
  await expect(bob.signOut()).rejects.toMatchObject({ code: 'unsent' })
  await bob.connect()
  await bob.close()
  expect(notes.uploaded).toEqual([])
  const alice = await open('alice', named ? { user: 'alice' } : {})
  await shows(alice, ['her PIN is 4711', 'my bank is …'])
  await alice.waitForUpload({ timeout: 120_000 })
  expect(notes.uploaded).toEqual([{ as: 'alice', body: 'my bank is …' }])
})

test('after she has signed out he has a database of his own, and nothing of hers is in any file', async () => {
  await aliceLeaves(true)
  const alice = await open('alice', { user: 'alice' })
  await alice.signOut({ unsent: 'wait', timeout: 120_000 })
  expect(notes.uploaded).toEqual([{ as: 'alice', body: 'my bank is …' }])
  const bob = await open('bob', { user: 'bob' })
  await shows(bob, ['his own note'])
  await bob.close()
  const name = `device-${devices}`
  for (const file of readdirSync(notes.directory.path).filter((each) => each.startsWith(`${name}.`))) {
    const content = readFileSync(join(notes.directory.path, file))
    expect([content.includes('PIN is 4711'), content.includes('my bank')]).toEqual([false, false])
  }
})

test('he may wipe it, when he says so, and then has his own', async () => {
  await aliceLeaves(true)
  const bob = await open('bob', { user: 'bob' })
  await bob.wipe()
  const his = await open('bob', { user: 'bob' })
  await shows(his, ['his own note'])
  expect(notes.uploaded).toEqual([])
})
