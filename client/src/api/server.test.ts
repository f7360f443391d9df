import { expect, test } from 'vitest'
import { createRockpool } from '../index.ts'
import { defineSchema, table, text } from '../schema.ts'

test('on a server the import does nothing, and what needs the file says that there is no browser', async () => {
  const schema = defineSchema({ notes: table({ body: text() }) })
  const db = createRockpool({ schema, name: 'notes', url: 'https://sync.example.com', token: () => 'none' })
  expect(db.status.state).toBe('opening')
  await expect(db.ready).rejects.toMatchObject({ code: 'no_browser' })
  await expect(db.notes.insert({ body: 'x' })).rejects.toMatchObject({ code: 'no_browser' })
  await db.close()
})

test('a token is not sent in plain text', () => {
  const schema = defineSchema({ notes: table({ body: text() }) })
  expect(() => createRockpool({ schema, name: 'n', url: 'http://sync.example.com', token: () => 'none' })).toThrow(
    expect.objectContaining({ code: 'insecure_url' }),
  )
})
