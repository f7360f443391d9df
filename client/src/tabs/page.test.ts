import { expect, test } from 'vitest'
import type { UploadResponse } from '../core/outbox/answer.ts'
import { BUSY_MS, BusyWatch } from './busy.ts'
import { actionsOf, suspendsHidden, type PageEvent } from './lifecycle.ts'
import { fileOf } from './names.ts'
import { KEEPALIVE_BYTES, Poster, type Posted } from './poster.ts'

const response = (status: number): UploadResponse => ({
  status,
  contentType: 'application/json',
  redirected: false,
  body: '{}',
  retryAfter: null,
})

function poster(): { poster: Poster; sent: [Posted, boolean][]; answer(status: number): Promise<void> } {
  const sent: [Posted, boolean][] = []
  const open: ((response: UploadResponse) => void)[] = []
  const made = new Poster((posted, keepalive) => {
    sent.push([posted, keepalive])
    return new Promise((resolve) => open.push(resolve))
  })
  const answer = async (status: number): Promise<void> => {
    open.shift()?.(response(status))
    await new Promise((resolve) => setTimeout(resolve))
  }
  return { poster: made, sent, answer }
}

test('a hidden page lets go of the database only where the engine suspends it, and comes back when it is seen', () => {
  const here = { isSuspended: false, suspendsHidden: false }
  expect(actionsOf('hidden', here)).toEqual(['send'])
  expect(actionsOf('hidden', { ...here, suspendsHidden: true })).toEqual(['send', 'suspend'])
  for (const event of ['freeze', 'pagehide'] as const) expect(actionsOf(event, here)).toEqual(['send', 'suspend'])
  const events: PageEvent[] = ['visible', 'resume', 'pageshow']
  for (const event of events) {
    expect(actionsOf(event, here)).toEqual(['wake'])
    expect(actionsOf(event, { ...here, isSuspended: true })).toEqual(['resume'])
  }
  expect(actionsOf('online', { ...here, isSuspended: true })).toEqual([])
  expect(suspendsHidden('Apple Computer, Inc.')).toBe(true)
  expect(suspendsHidden('Google Inc.')).toBe(false)
})

test('one upload is under way at a time, and small ones outlive the page', async () => {
  const { poster: made, sent, answer } = poster()
  const first = made.post({ body: 'a', token: 't' })
  const second = made.post({ body: 'x'.repeat(KEEPALIVE_BYTES + 1), token: 't' })
  expect(sent.length).toBe(1)
  await answer(200)
  expect((await first).status).toBe(200)
  await answer(200)
  await second
  expect(sent.map(([, keepalive]) => keepalive)).toEqual([true, false])
})

test('what was not decided goes once more when the page is hidden; the same request from the owner shares its answer', async () => {
  const { poster: made, sent, answer } = poster()
  const first = made.post({ body: 'a', token: 't' })
  made.lastChance()
  expect(sent.length).toBe(1)
  await answer(503)
  await first
  made.lastChance()
  expect(sent.length).toBe(2)
  const again = made.post({ body: 'a', token: 't' })
  expect(sent.length).toBe(2)
  await answer(200)
  expect((await again).status).toBe(200)
  made.lastChance()
  expect(sent.length).toBe(2)
})

test('a thread that works says so from the middle of it, and not more often than it must', () => {
  let now = 0
  let told = 0
  const watch = new BusyWatch(
    () => now,
    () => told++,
  )
  for (; now < 10 * BUSY_MS; now += 10) watch.look()
  expect(told).toBe(9)
  watch.free()
  watch.look()
  expect(told).toBe(9)
})

test('a file is one of a name, an address and a user', () => {
  const files = [
    fileOf('todos', 'https://a.example', 'alice'),
    fileOf('todos', 'https://b.example', 'alice'),
    fileOf('todos', 'https://a.example', 'bob'),
    fileOf('todos', 'https://a.example', undefined),
    fileOf('to/dos', 'https://a.example', 'alice'),
  ]
  expect(new Set(files).size).toBe(files.length)
  for (const file of files) expect(file).toMatch(/^[\w%-]+$/)
  expect(fileOf('todos', 'https://a.example', 'alice')).toBe(files[0])
})
