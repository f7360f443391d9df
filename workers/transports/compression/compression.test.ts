import { gunzipSync, zstdDecompressSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { frameEnd } from '../../../test/wire/decoded.ts'
import { textLines } from '../lines.ts'
import { compressorFor, type Asked } from './accepted.ts'
import type { Compressor } from './compressor.ts'
import { Gzip } from './gzip.ts'
import { compressedLines } from './lines.ts'
import { Zstd } from './zstd.ts'

function unzstd(bytes: Uint8Array): Buffer {
  const frames: Buffer[] = []
  let rest = Buffer.from(bytes)
  for (let end = frameEnd(rest); end > 0; end = frameEnd(rest)) {
    frames.push(zstdDecompressSync(rest.subarray(0, end)))
    rest = rest.subarray(end)
  }
  expect(rest).toHaveLength(0)
  return Buffer.concat(frames)
}

const kinds: [string, () => Compressor, (bytes: Uint8Array) => Buffer][] = [
  ['zstd', () => new Zstd(), unzstd],
  ['gzip', () => new Gzip(), (bytes) => gunzipSync(bytes)],
]

const row = (n: number): string =>
  `{"op_id":"${n}","op":"PUT","object_id":"${(n * 2_654_435_761) % 2 ** 32}","data":"{\\"title\\":\\"word ${n % 17}\\"}"},`
const text = (bytes: number): Buffer => {
  let rows = ''
  for (let n = 0; rows.length < bytes; n++) rows += row(n)
  return Buffer.from(rows.slice(0, bytes))
}
const noise = (bytes: number): Buffer =>
  Buffer.from(Uint8Array.from({ length: bytes }, (_, n) => (n * n * 31 + (n >> 3) * 7) % 256))

describe.each(kinds)('%s', (_, compressor, decompress) => {
  test('parts of every size are one body, with what makes it a whole one at its end', () => {
    const body = compressor()
    const sizes = [0, 1, 2, 3, 255, 256, 65_534, 65_535, 65_536, 131_071, 131_072, 131_073, 200_000, 1_000_000]
    const raw = sizes.flatMap((size) => [text(size), noise(size)])
    const parts = raw.map((bytes, n) => (n % 3 === 0 ? body.plain(bytes) : body.ops(bytes)))
    const whole = Buffer.concat([...parts, body.end()])
    expect(decompress(whole).equals(Buffer.concat(raw))).toBe(true)
  })

  test('a body without lines is a whole one', () => {
    const body = compressor()
    const whole = Buffer.concat([body.plain(Buffer.from('{"token_expires_in":1}\n')), body.end()])
    expect(decompress(whole).toString()).toBe('{"token_expires_in":1}\n')
    expect(decompress(compressor().end()).length).toBe(0)
  })

  test('ops get a quarter of their size or less', () => {
    expect(compressor().ops(text(370_000)).length).toBeLessThan(370_000 / 4)
  })

  test('a part is the same whatever came before it: its length says nothing about others', () => {
    const alone = compressor()
    const behind = compressor()
    alone.plain(Buffer.from('x'))
    behind.plain(Buffer.from('x'))
    behind.ops(text(50_000))
    expect(Buffer.from(behind.ops(text(50_000))).equals(Buffer.from(alone.ops(text(50_000))))).toBe(true)
  })

  test('a secret of one client beside rows that somebody else chose is not compressed', () => {
    const length = (lines: string) => compressor().plain(Buffer.from(lines)).length
    expect(length('secret=4711 guess=4711')).toBe(length('secret=4711 guess=0815'))
  })
})

test('only a line of ops that is sent by itself is compressed', () => {
  const calls: string[] = []
  const compressor: Compressor = {
    encoding: 'gzip',
    ops: (bytes) => (calls.push(`ops ${bytes.length}`), bytes),
    plain: (bytes) => (calls.push(`plain ${bytes.length}`), bytes),
    end: () => new Uint8Array(0),
  }
  const bytes = (line: string) => Buffer.from(line)
  const { encoder, encode } = compressedLines(
    { line: (line) => bytes(textLines.line(line)), data: (line) => bytes(textLines.data(line)) },
    compressor,
  )
  const data = encoder.data({ bucket: 'b', after: 0, next: 1, more: false, ops: '1' })
  const line = encoder.line({ token_expires_in: 5 })
  encode(data)
  encode(line)
  encode(Buffer.concat([line, data]))
  expect(calls).toEqual([`ops ${data.length}`, `plain ${line.length}`, `plain ${line.length + data.length}`])
})

const asked = (accept: string | undefined, others: Record<string, string> = {}, cf?: Asked['cf']): Asked => ({
  headers: new Headers({ ...(accept !== undefined && { 'accept-encoding': accept }), ...others }),
  ...(cf && { cf }),
})
const chromium = { 'sec-ch-ua': '"Chromium";v="156"' }
const firefox = { 'user-agent': 'Mozilla/5.0 (X11; Linux x86_64; rv:153.0) Gecko/20100101 Firefox/153.0' }

test.each([
  [undefined, null],
  ['', null],
  ['identity', null],
  ['*', null],
  ['br, deflate', null],
  ['gzip', 'gzip'],
  ['GZip;Q=0.5, br', 'gzip'],
  ['gzip, deflate, br, zstd', 'zstd'],
  ['gzip;q=1.0, zstd;q=0.1', 'zstd'],
  ['gzip, zstd;q=0', 'gzip'],
  ['gzip;q=0, zstd; q = 0.000', null],
  ['gzip;q=x', null],
])('Accept-Encoding %s of a browser: %s', (accept, encoding) => {
  for (const browser of [chromium, firefox])
    expect(compressorFor(asked(accept, browser))?.encoding ?? null).toBe(encoding)
})

test('zstd is only for clients that are known to read every frame of it', () => {
  expect(compressorFor(asked('gzip, zstd'))?.encoding).toBe('gzip')
  expect(compressorFor(asked('zstd'))).toBe(null)
  expect(compressorFor(asked('gzip, zstd', { 'user-agent': 'node' }))?.encoding).toBe('gzip')
})

test('on Cloudflare the client is asked, not the edge', () => {
  expect(compressorFor(asked('gzip, br', chromium, { clientAcceptEncoding: 'gzip, zstd' }))?.encoding).toBe('zstd')
  expect(compressorFor(asked('gzip, br', {}, { clientAcceptEncoding: 'identity' }))).toBe(null)
})
