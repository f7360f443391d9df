import { createHash, createHmac, pbkdf2Sync } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startPostgres, type TestPostgres } from '../../../test/support/postgres.ts'
import { Random } from '../../../test/support/random.ts'
import { preparePassword } from './password.ts'

// Postgres itself prepares the password of a role, and stores a key that is made of it: the same key must come of what
// is prepared here.

const RANDOM = Number(process.env.ROCKPOOL_PASSWORDS ?? 200)
const SEED = Number(process.env.ROCKPOOL_SEED ?? 1)

let postgres: TestPostgres
beforeAll(async () => {
  postgres = await startPostgres({ scram_iterations: '1' })
})
afterAll(() => postgres?.stop())

/** RFC 5802 section 3: the key that a server stores. */
function storedKey(password: string, salt: string, iterations: number): string {
  const salted = pbkdf2Sync(password, Buffer.from(salt, 'base64'), iterations, 32, 'sha256')
  const clientKey = createHmac('sha256', salted).update('Client Key').digest()
  return createHash('sha256').update(clientKey).digest('base64')
}

const PASSWORDS: Record<string, string> = {
  'ASCII alone': 'correct horse "battery" $taple\\',
  'a composed letter': 'caf\u00e9',
  'a decomposed letter': 'cafe\u0301',
  'a ligature': 'o\ufb03ce',
  'a Roman numeral': '\u2168',
  'an ordinal': '1\u00aa',
  'full width': '\uff30\uff21\uff33\uff33',
  'a space that does not break': 'a\u00a0b',
  'a wide space': 'a\u3000b',
  'a space without width': 'a\u200bb',
  'a soft hyphen': 'I\u00adX',
  'nothing but a soft hyphen': '\u00ad',
  'a joiner': 'a\u200db',
  'a selector of a variant': '\u2764\ufe0f',
  'a control character': 'a\u0007\u00a0b',
  'a tag': 'a\u{e0041}\u00a0b',
  'private use': '\ue000\u00a0b',
  'a direction mark': 'a\u200e\u00a0b',
  'a tone mark that is not used any more': 'a\u0340',
  Hebrew: '\u05e9\u05dc\u05d5\u05dd',
  'Hebrew and spaces': '\u05e9\u00a0\u05dc',
  'Hebrew with a digit at the end': '\u05e9\u00a01',
  'Hebrew and Latin': '\u05e9\u00a0a\u05dc',
  'Arabic in presentation forms': '\ufefb',
  'Arabic with a mark at the end': '\u0628\u00a0\u064e',
  Syriac: '\u0710\u00a0\u0710',
  Thaana: '\u0780\u00a0\u0780',
  Chinese: '\u5bc6\u78bc\u3000\u5bc6',
  'Hangul of two forms': '\u1112\u1161\u11ab',
  'an emoji of today': '\u{1f600}',
  'an emoji of today and a wide space': '\u{1f600}\u3000b',
  'an emoji of today and a decomposed letter': '\u{1f600}e\u0301',
  'letters newer than Unicode 3.2': '\u0523\u00a0\u1e9e',
  'mathematical letters': '\u{1d400}\u{1d401}',
}

/** Of one iteration, which makes it quick. Postgres 16 and newer can be told. */
async function expectSameKey(password: string): Promise<void> {
  const sql = postgres.sql()
  await sql.unsafe(`DROP ROLE IF EXISTS somebody; CREATE ROLE somebody PASSWORD ${quoted(password)}`)
  const [{ secret } = { secret: '' }] = await sql<
    { secret: string }[]
  >`SELECT rolpassword AS secret FROM pg_authid WHERE rolname = 'somebody'`
  const [, iterations = '', salt = '', stored] = /^SCRAM-SHA-256\$(\d+):([^$]+)\$([^:]+):/.exec(secret) ?? []
  expect(stored).toBeDefined()
  expect(storedKey(preparePassword(password), salt, Number(iterations)), JSON.stringify(password)).toBe(stored)
}

test.each(Object.entries(PASSWORDS))('%s', (_, password) => expectSameKey(password))

test(`${RANDOM} random passwords of all blocks`, async () => {
  const random = new Random(SEED)
  for (let n = 0; n < RANDOM; n++) {
    const length = 1 + random.int(5)
    await expectSameKey(String.fromCodePoint(...Array.from({ length }, () => anyCodePoint(random))))
  }
})

/** Blocks that scripts, spaces, marks and symbols are in come more often than their size would have it. */
function anyCodePoint(random: Random): number {
  const below = random.pick([0x80, 0x800, 0x3100, 0xfffe, 0x20000, 0x110000])
  const codePoint = 1 + random.int(below - 1)
  return codePoint >= 0xd800 && codePoint <= 0xdfff ? codePoint - 0x800 : codePoint
}

const quoted = (text: string) => `E'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
