import { expect, test } from 'vitest'
import { Looks } from './looks.ts'
import { watchDefinitions, type Watched } from './watches.ts'

function watchOf(isCurrent: () => Promise<boolean>) {
  const looks = new Looks()
  const ending = Promise.withResolvers<void>()
  const seen: string[] = []
  const watched = {
    settings: { catalogWatchSeconds: 60 },
    call: () => ({ signal: new AbortController().signal, deadlineMs: 1_000 }),
    pause: () => new Promise<void>(() => {}),
    ending: ending.promise,
    looks,
    unchanged: () => void seen.push('unchanged'),
    end: () => void seen.push('end'),
  } satisfies Partial<Record<keyof Watched, unknown>>
  void watchDefinitions(watched as unknown as Watched, { isCurrent })
  return { looks, ending, seen }
}
const turn = () => new Promise((resolve) => setImmediate(resolve))

test('the stream waits for a look, and goes on when nothing has changed', async () => {
  const { looks, seen } = watchOf(async () => true)
  looks.ask()
  await turn()
  expect([seen, looks.pending]).toEqual([['unchanged'], false])
})

test('what the stream asks when the session is ending already ends it: a read may wait for the stream, and nobody looks any more', async () => {
  const { looks, ending, seen } = watchOf(async () => true)
  ending.resolve()
  await turn()
  expect(seen).toEqual([])
  looks.ask()
  await turn()
  expect([seen, looks.pending]).toEqual([['end'], true])
})
