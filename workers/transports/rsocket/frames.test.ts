import { describe, expect, test } from 'vitest'
import {
  completeFrame,
  decodeFrame,
  ErrorCode,
  errorFrame,
  Flag,
  FrameError,
  keepaliveFrame,
  nextFrame,
} from './frames.ts'

const hex = (text: string): Uint8Array => new Uint8Array(Buffer.from(text.replace(/\s/g, ''), 'hex'))
const ascii = (text: string): string => Buffer.from(text).toString('hex')
const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
const utf8 = (bytes: Uint8Array | null): string | null => bytes && new TextDecoder().decode(bytes)

const JSON_MIME = `10${ascii('application/json')}`
const TOKEN = '{"token":"Token tok123","user_agent":"x"}'
const length24 = (text: string) => text.length.toString(16).padStart(6, '0')
const SETUP = `00000000 0500 0001 0000 00004e20 00015f90 ${JSON_MIME} ${JSON_MIME} ${length24(TOKEN)} ${ascii(TOKEN)}`

describe('decoding, with frames as SDKs send them', () => {
  test('SETUP', () => {
    const frame = decodeFrame(hex(SETUP))
    expect(frame).toMatchObject({
      type: 'setup',
      streamId: 0,
      flags: Flag.METADATA,
      major: 1,
      minor: 0,
      keepaliveMs: 20_000,
      lifetimeMs: 90_000,
      metadataMime: 'application/json',
      dataMime: 'application/json',
    })
    if (frame.type !== 'setup') throw new Error(frame.type)
    expect(utf8(frame.metadata)).toBe(TOKEN)
    expect(frame.data.length).toBe(0)
  })

  test('SETUP with a resume token, without metadata and with data', () => {
    const frame = decodeFrame(
      hex(`00000000 0480 0001 0000 00000001 00000002 0003 aabbcc ${JSON_MIME} ${JSON_MIME} 7b7d`),
    )
    expect(frame).toMatchObject({ type: 'setup', flags: Flag.RESUME, metadata: null, metadataMime: 'application/json' })
    if (frame.type === 'setup') expect(utf8(frame.data)).toBe('{}')
  })

  test('REQUEST_STREAM, REQUEST_N, CANCEL, KEEPALIVE', () => {
    const metadata = '{"path":"/sync/stream"}'
    const request = decodeFrame(hex(`00000001 1900 0000000a 000017 ${ascii(metadata)} ${ascii('{"buckets":[]}')}`))
    expect(request).toMatchObject({ type: 'request-stream', streamId: 1, initialN: 10 })
    if (request.type !== 'request-stream') throw new Error(request.type)
    expect([utf8(request.metadata), utf8(request.data)]).toEqual([metadata, '{"buckets":[]}'])
    expect(decodeFrame(hex('00000001 2000 00000001'))).toEqual({ type: 'request-n', streamId: 1, flags: 0, n: 1 })
    expect(decodeFrame(hex('00000001 2400'))).toEqual({ type: 'cancel', streamId: 1, flags: 0 })
    expect(decodeFrame(hex('00000000 0c80 0000000000000000'))).toMatchObject({
      type: 'keepalive',
      flags: Flag.RESPOND,
      position: 0n,
    })
    expect(decodeFrame(hex('00000000 0c00 ffffffffffffffff 0102'))).toMatchObject({
      position: 0xffffffffffffffffn,
      data: hex('0102'),
    })
  })

  test('PAYLOAD: metadata and data, data alone, an empty metadata, fragments', () => {
    expect(decodeFrame(hex('00000003 2960 000002 aabb cc'))).toEqual({
      type: 'payload',
      streamId: 3,
      flags: Flag.METADATA | Flag.COMPLETE | Flag.NEXT,
      metadata: hex('aabb'),
      data: hex('cc'),
    })
    expect(decodeFrame(hex('00000003 2820 cc'))).toMatchObject({ metadata: null, data: hex('cc') })
    expect(decodeFrame(hex('00000003 2900 000000'))).toMatchObject({
      metadata: new Uint8Array(0),
      data: new Uint8Array(0),
    })
    expect(decodeFrame(hex('00000003 28a0 cc'))).toMatchObject({ flags: Flag.FOLLOWS | Flag.NEXT })
  })

  test('types that are not spoken keep their number, with the flag that they may be ignored', () => {
    expect(decodeFrame(hex('00000005 1000 7b7d'))).toEqual({ type: 'other', number: 4, streamId: 5, flags: 0 })
    expect(decodeFrame(hex('00000000 fe00'))).toEqual({ type: 'other', number: 63, streamId: 0, flags: Flag.IGNORE })
  })

  test.each([
    ['nothing', ''],
    ['half a header', '00000000 05'],
    ['a stream id with the highest bit', '80000001 2400'],
    ['SETUP cut in its MIME type', '00000000 0500 0001 0000 00004e20 00015f90 10 6170'],
    ['metadata longer than the frame', '00000001 2900 0000ff 00'],
    ['REQUEST_N without a number', '00000001 2000 0000'],
    ['a number of 32 bits', '00000001 2000 80000000'],
    ['KEEPALIVE without a position', '00000000 0c80 00'],
  ])('%s is refused', (_, bytes) => {
    expect(() => decodeFrame(hex(bytes))).toThrow(FrameError)
  })

  test('no bytes crash it', () => {
    let seed = 7
    const random = (n: number): number => (seed = (seed * 48271) % 2147483647) % n
    const whole = hex(SETUP)
    for (let n = 0; n < 5_000; n++) {
      const bytes = whole.slice(0, random(whole.length))
      for (let i = 0; i < 3 && bytes.length > 0; i++) bytes[random(bytes.length)] = random(256)
      try {
        decodeFrame(bytes)
      } catch (error) {
        expect(error).toBeInstanceOf(FrameError)
      }
    }
  })
})

test('frames are written to the byte, and read again as what they were', () => {
  expect(toHex(nextFrame(1, hex('0500000000')))).toBe('0000000128200500000000')
  expect(toHex(completeFrame(1))).toBe('000000012840')
  expect(toHex(errorFrame(0, ErrorCode.REJECTED_SETUP, '[PSYNC_S2103] ü'))).toBe(
    `000000002c0000000003${ascii('[PSYNC_S2103] ü')}`,
  )
  expect(toHex(keepaliveFrame(hex('0a0b'), false))).toBe('000000000c0000000000000000000a0b')
  expect(toHex(keepaliveFrame(new Uint8Array(0), true))).toBe('000000000c800000000000000000')
  expect(decodeFrame(errorFrame(5, ErrorCode.APPLICATION_ERROR, 'no'))).toEqual({
    type: 'error',
    streamId: 5,
    flags: 0,
    code: 0x201,
    message: 'no',
  })
  expect(decodeFrame(nextFrame(0x7fffffff, hex('aa')))).toMatchObject({
    type: 'payload',
    streamId: 0x7fffffff,
    flags: Flag.NEXT,
  })
})
