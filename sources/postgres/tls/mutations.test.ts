import { expect, test } from 'vitest'
import { Random } from '../../../test/support/random.ts'
import { credentials } from '../../../test/tls/credentials.ts'
import { testServer, type AnyBehaviour } from '../../../test/tls/attempt.ts'
import { pipe } from '../../../test/tls/pipe.ts'
import { certificateRequest, FLIGHT, type Step } from '../../../test/tls/server.ts'
import { FLIGHT_12, certificateRequest12, type Step12 } from '../../../test/tls/server-12.ts'
import { TlsError } from './alerts.ts'
import { connectTls } from './connection.ts'
import { concat, equal, type Bytes } from './wire.ts'

// Handshakes of an honest server that somebody in between, or the server itself after it has signed them, has changed.
// ROCKPOOL_ROUNDS: how many.

const ROUNDS = Number(process.env.ROCKPOOL_ROUNDS ?? 500)

/** Some bytes of it are others, more or fewer. */
function changed(random: Random, bytes: Bytes): Bytes {
  const at = random.int(bytes.length)
  const length = 1 + random.int(random.chance(0.5) ? 1 : 20)
  const noise = new Uint8Array(length).map(() => random.int(256))
  const flip = () => flipped(random, bytes)
  const ways: (() => Bytes)[] = [
    flip,
    flip,
    () => concat(bytes.subarray(0, at), noise, bytes.subarray(at + length)),
    () => concat(bytes.subarray(0, at), noise, bytes.subarray(at)),
    () => concat(bytes.subarray(0, at), bytes.subarray(at + length)),
    () => bytes.subarray(0, at),
    // A part of it before it: whole, the second one would come after the handshake and be the first that fails there.
    () => concat(bytes.subarray(at + 1), bytes),
  ]
  const found = random.pick(ways)()
  // Whole, and something behind it: that comes after the handshake, and is the first to fail there.
  return equal(found.subarray(0, bytes.length), bytes) ? flip() : found
}

function flipped(random: Random, bytes: Bytes): Bytes {
  const at = random.int(bytes.length)
  return bytes.map((byte, i) => (i === at ? byte ^ (1 << random.int(8)) : byte))
}

/** The messages of a flight, changed before they go into records. */
const packed = (random: Random) => (messages: Bytes[]) => {
  const all = messages.slice()
  const i = random.int(all.length)
  if (random.chance(0.8)) all[i] = changed(random, all[i] as Bytes)
  else [all[i], all[(i + 1) % all.length]] = [all[(i + 1) % all.length] as Bytes, all[i] as Bytes]
  return random.chance(0.5) ? all : [concat(...all)]
}

/** A server whose record, on its way, or encrypted flight, before it is encrypted, is changed. */
function changed13(random: Random, intact: boolean): AnyBehaviour {
  const flight: Step[] = random.chance(0.3) ? [FLIGHT[0] as Step, certificateRequest, ...FLIGHT.slice(1)] : FLIGHT
  if (intact) return { flight }
  if (!random.chance(0.5)) return { flight, pack: packed(random) }
  const record = random.weighted([
    [2, 0],
    [1, 1],
    [4, 2],
  ] as const)
  // change_cipher_spec means nothing: it may be missing, or come twice. Its bytes are one bit away from something else.
  return {
    flight,
    wire: (bytes, i) => (i !== record ? [bytes] : [i === 1 ? flipped(random, bytes) : changed(random, bytes)]),
  }
}

/**
 * The same of TLS 1.2, of which only Finished is encrypted, from a server that may not look at what the client says.
 */
function changed12(random: Random, intact: boolean): AnyBehaviour {
  const [certificate, keyExchange, done] = FLIGHT_12 as [Step12, Step12, Step12]
  const flight = random.chance(0.3) ? [certificate, keyExchange, certificateRequest12, done] : FLIGHT_12
  if (intact) return { version: 12, flight }
  const careless = random.chance(0.5)
  if (!random.chance(0.4)) return { version: 12, flight, careless, pack: packed(random) }
  const record = random.weighted([
    [4, 0],
    [1, 1],
    [2, 2],
  ] as const)
  return { version: 12, flight, careless, wire: (bytes, i) => (i === record ? [changed(random, bytes)] : [bytes]) }
}

/**
 * Milliseconds after which a client that waits for more of what was cut is told the end. In 1.3 it is the client that
 * speaks last: what it got is all that comes.
 */
const VERSIONS = [
  { version: '1.3', behaviourOf: changed13, idleMs: 0 },
  { version: '1.2', behaviourOf: changed12, idleMs: 60 },
]

test.each(VERSIONS)(
  `${ROUNDS} handshakes of TLS $version that were changed: none connects, each ends with an error of ours`,
  { timeout: 30_000 + ROUNDS * 60 },
  async ({ behaviourOf, idleMs }) => {
    const key = await credentials(0x0403)
    let honest = 0
    for (let seed = 1; seed <= ROUNDS; seed++) {
      const intact = seed % 100 === 0
      const { client, server } = pipe()
      const end = () => server.end()
      let idle: ReturnType<typeof setTimeout> | undefined
      const sent = () => {
        if (!intact && idleMs === 0) end()
        else idle = setTimeout(end, intact ? 5_000 : idleMs)
      }
      testServer(server, key, behaviourOf(new Random(seed), intact))
        .accept(sent)
        .then(() => intact || end(), end)
      const options = { host: 'localhost', verify: () => {}, signal: AbortSignal.timeout(5_000) }
      const outcome = await connectTls(client, options).catch((error: unknown) => error)
      clearTimeout(idle)
      if (intact) honest += Number(!(outcome instanceof Error))
      else expect(outcome, `seed ${seed}`).toBeInstanceOf(TlsError)
    }
    expect(honest).toBe(Math.floor(ROUNDS / 100))
  },
)
