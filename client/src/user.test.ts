import { existsSync, linkSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openSync } from './node.ts'
import { TestService, unsigned } from './test-service.ts'
import type { NodeSyncOptions, SyncDatabase } from './types.ts'

// To whom a database belongs, and what is left of it after a sign-out. In the browser:
// test/user-switch.browser.test.ts.

let service: TestService
let directory: string
let path: string
const opened: SyncDatabase[] = []
const eventually = { timeout: 20_000 }
const SECRET = 'my new PIN is 4711'
const schema = { tables: { notes: { columns: { body: 'text' } } } } as const

async function open(options: Partial<NodeSyncOptions> = {}): Promise<SyncDatabase> {
  const db = await openSync({
    url: service.url,
    uploadUrl: `${service.url}/upload`,
    schema,
    path,
    auth: () => unsigned(options.user ?? 'alice'),
    ...options,
  })
  opened.push(db)
  return db
}
const write = (db: SyncDatabase, body = SECRET) =>
  db.write((tx) => tx.execute('INSERT INTO notes (id, body) VALUES (?, ?)', [crypto.randomUUID(), body]))
const bodies = async (db: SyncDatabase) =>
  (await db.query<{ body: string }>('SELECT body FROM notes')).map(({ body }) => body)
const otherUser = { code: 'other_user' }

beforeEach(async () => {
  service = await TestService.start()
  directory = mkdtempSync(join(tmpdir(), 'rockpool-client-'))
  path = join(directory, 'client.db')
})
afterEach(async () => {
  for (const db of opened.splice(0)) await db.close()
  await service.close()
  rmSync(directory, { recursive: true, force: true })
})

/** Alice has written something that is not sent, and has gone. */
async function aliceWasHere(options: Partial<NodeSyncOptions> = {}): Promise<void> {
  const alice = await open({ user: 'alice', connect: false, ...options })
  await write(alice)
  await alice.close()
}

test('another user cannot read, change, send or delete what the first one left, who finds it again', async () => {
  await aliceWasHere()
  const bob = await open({ user: 'bob' })
  await expect.poll(() => bob.status, eventually).toMatchObject({ state: 'needs-auth', error: otherUser })
  await expect(bob.query('SELECT * FROM notes')).rejects.toMatchObject(otherUser)
  await expect(write(bob)).rejects.toMatchObject(otherUser)
  await expect(bob.failedWrites()).rejects.toMatchObject(otherUser)
  await expect(bob.dismissFailedWrites()).rejects.toMatchObject(otherUser)
  await expect(bob.waitForSync({ timeout: 50 })).rejects.toThrow('too long')
  const live = await new Promise((resolve) => bob.live('SELECT * FROM notes', [], resolve, resolve))
  expect(live).toMatchObject(otherUser)
  await bob.connect()
  await expect(bob.signOut()).rejects.toMatchObject({ code: 'unsent' })
  await bob.close()
  expect(service.posts).toEqual([])
  expect(service.sockets).toEqual([])
  const alice = await open({ user: 'alice' })
  expect(await bodies(alice)).toEqual([SECRET])
  await expect.poll(() => service.posts.length, eventually).toBe(1)
})

test('the token of another user is never used: nothing is sent with it, and nothing is shown until the right one returns', async () => {
  await aliceWasHere()
  let who = 'bob'
  const alice = await open({ user: 'alice', auth: () => unsigned(who) })
  await expect
    .poll(() => alice.status, eventually)
    .toMatchObject({ state: 'needs-auth', error: otherUser, pendingWrites: 1 })
  await expect(alice.query('SELECT * FROM notes')).rejects.toMatchObject(otherUser)
  expect([service.posts, service.sockets]).toEqual([[], []])
  who = 'alice'
  await alice.connect()
  await expect.poll(() => service.posts.length, eventually).toBe(1)
  expect(await bodies(alice)).toEqual([SECRET])
})

test('without the option the first token decides the owner, and the next user sees no row before their token has arrived', async () => {
  const alice = await open()
  await write(alice)
  await expect.poll(() => service.posts.length, eventually).toBe(1)
  await alice.close()
  const bob = await open({ auth: () => unsigned('bob') })
  await expect(bob.query('SELECT * FROM notes')).rejects.toMatchObject(otherUser)
  await bob.close()
  expect(service.posts).toHaveLength(1)
})

test('without a network and without the option, it opens as the database of the last user', async () => {
  const first = await open()
  await write(first)
  await expect.poll(() => first.status.pendingWrites, eventually).toBe(0)
  await first.close()
  const offline = await open({
    auth: () => {
      throw new Error('no network')
    },
  })
  expect(await bodies(offline)).toEqual([SECRET])
})

test('a subject may be found in another claim, and a token without one is not used', async () => {
  const claims = { account: 'a-1' }
  const db = await open({
    user: 'a-1',
    auth: () => unsigned('x', 60, claims),
    subject: ({ account }) => String(account),
  })
  await write(db)
  await expect.poll(() => service.posts.length, eventually).toBe(1)
  await db.close()
  const nobody = await open({ path: ':memory:', auth: () => 'no JWT' })
  await expect.poll(() => nobody.status, eventually).toMatchObject({ state: 'error', error: { code: 'token' } })
})

test('a sign-out is refused while writes are unsent or rejected, and leaves no rows', async () => {
  const alice = await open({ user: 'alice', connect: false })
  await write(alice)
  await expect(alice.signOut()).rejects.toMatchObject({ code: 'unsent' })
  await expect(alice.signOut({ unsent: 'wait', timeout: 30 })).rejects.toThrow('too long')
  expect(await bodies(alice)).toEqual([SECRET])
  service.upload = () => ({ status: 422, body: '{"error":{"code":"no","message":"no"}}' })
  await alice.connect()
  await expect.poll(() => alice.status.failedWrites, eventually).toBe(1)
  await expect(alice.signOut({ unsent: 'wait' })).rejects.toMatchObject({ code: 'unsent' })
  await alice.signOut({ unsent: 'discard' })
  expect(alice.status.state).toBe('closed')
  expect(readdirSync(directory)).toEqual([])
  await expect(alice.query('SELECT 1')).rejects.toMatchObject({ code: 'closed' })
  const bob = await open({ user: 'bob', connect: false })
  expect(await bodies(bob)).toEqual([])
})

test('a sign-out may wait for the upload', async () => {
  let answer: () => void = () => {}
  service.upload = () => new Promise((resolve) => (answer = () => resolve({ body: '{}' })))
  const alice = await open({ user: 'alice' })
  await write(alice)
  const signedOut = alice.signOut({ unsent: 'wait' })
  await expect.poll(() => service.posts.length, eventually).toBe(1)
  expect(existsSync(path)).toBe(true)
  answer()
  await signedOut
  expect(readdirSync(directory)).toEqual([])
})

test('rows may be kept for the same user', async () => {
  const alice = await open({ user: 'alice', connect: false })
  await write(alice)
  await alice.signOut({ keepRows: true })
  const bob = await open({ user: 'bob', connect: false })
  await expect(bob.query('SELECT * FROM notes')).rejects.toMatchObject(otherUser)
  await bob.close()
  expect(await bodies(await open({ user: 'alice', connect: false }))).toEqual([SECRET])
})

test('a wipe overwrites the rows before it deletes the file, also those of another user and in damaged files', async () => {
  await aliceWasHere()
  writeFileSync(`${path}.corrupt-1`, SECRET)
  const bob = await open({ user: 'bob' })
  // A name beside it keeps the bytes that the file had when it was unlinked.
  const kept = join(directory, 'kept')
  linkSync(path, kept)
  expect([path, `${path}-wal`].some((file) => existsSync(file) && readFileSync(file).includes(SECRET))).toBe(true)
  await bob.wipe()
  const left = readFileSync(kept)
  expect([left.includes(SECRET), left.includes('alice')]).toEqual([false, false])
  expect(readdirSync(directory)).toEqual(['kept'])
  const again = await open({ user: 'bob', connect: false })
  expect(await bodies(again)).toEqual([])
})

test('deleted rows are overwritten in the file', async () => {
  const alice = await open({ user: 'alice', connect: false })
  await write(alice)
  await alice.write((tx) => tx.execute('DELETE FROM notes'))
  await alice.close()
  // The upload queue still has it, because it is unsent.
  expect(readFileSync(path).includes(SECRET)).toBe(true)
  const upload = await open({ user: 'alice', upload: async () => ({ result: 'accepted' }) })
  service.connected = (socket) => {
    socket.send({ checkpoint: { last_op_id: '1', write_checkpoint: '1', buckets: [], streams: [] } })
    socket.send({ checkpoint_complete: { last_op_id: '1' } })
  }
  await upload.connect()
  await upload.waitForUpload({ timeout: 20_000 })
  await upload.close()
  expect(readFileSync(path).includes(SECRET)).toBe(false)
})
