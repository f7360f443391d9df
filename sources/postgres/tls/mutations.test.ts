import { expect, test } from 'vitest'
import { Random } from '../../../test/support/random.ts'
import { credentials } from '../../../test/tls/credentials.ts'
import { pipe } from '../../../test/tls/pipe.ts'
import { certificateRequest, FLIGHT, TestServer, type Behaviour, type Step } from '../../../test/tls/server.ts'
import { FLIGHT_12, certificateRequest12, TestServer12, type Behaviour12, type Step12 } from '../../../test/tls/server-12.ts'
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
  return equal(found, bytes) ? flip() : found
}

/** What is changed: a record on its way, or the messages of the encrypted flight before they are encrypted. */
function tampering(random: Random): Behaviour {
  if (random.chance(0.5)) {
    const record = random.weighted([
      [2, 0],
      [1, 1],
      [4, 2],
    ] as const)
    // change_cipher_spec means nothing: it may be missing, or come twice. Its bytes are one bit away from something
    // else.
    return { wire: (bytes, i) => (i !== record ? [bytes] : [i === 1 ? flipped(random, bytes) : changed(random, bytes)]) }
  }
  return {
    pack: (messages) => {
      const all = messages.slice()
      const i = random.int(all.length)
      if (random.chance(0.8)) all[i] = changed(random, all[i] as Bytes)
      else [all[i], all[(i + 1) % all.length]] = [all[(i + 1) % all.length] as Bytes, all[i] as Bytes]
      return random.chance(0.5) ? all : [concat(...all)]
    },
  }
}

function flipped(random: Random, bytes: Bytes): Bytes {
  const at = random.int(bytes.length)
  return bytes.map((byte, i) => (i === at ? byte ^ (1 << random.int(8)) : byte))
}

test(
  `${ROUNDS} handshakes that were changed: none connects, each ends with an error of ours`,
  { timeout: 30_000 + ROUNDS * 30 },
  async () => {
    const key = await credentials(0x0403)
    let honest = 0
    for (let seed = 1; seed <= ROUNDS; seed++) {
      const random = new Random(seed)
      const flight: Step[] = random.chance(0.3) ? [FLIGHT[0] as Step, certificateRequest, ...FLIGHT.slice(1)] : FLIGHT
      const intact = seed % 100 === 0
      const { client, server } = pipe()
      const served = new TestServer(server, key, { flight, ...(intact ? {} : tampering(random)) })
      // Who waits for more of what was cut, waits for the deadline: here the end comes at once.
      served.accept(() => void (intact || server.end())).catch(() => server.end())
      const outcome = await connectTls(client, { host: 'localhost', verify: () => {}, signal: AbortSignal.timeout(5_000) }).catch(
        (error: unknown) => error,
      )
      if (intact) honest += Number(!(outcome instanceof Error))
      else expect(outcome, `seed ${seed}`).toBeInstanceOf(TlsError)
    }
    expect(honest).toBe(Math.floor(ROUNDS / 100))
  },
)

/** For TLS 1.2, of which only Finished is encrypted. */
function tampering12(random: Random): Partial<Behaviour12> {
  if (random.chance(0.4)) {
    const record = random.weighted([
      [4, 0],
      [1, 1],
      [2, 2],
    ] as const)
    return { wire: (bytes, i) => (i === record ? [changed(random, bytes)] : [bytes]) }
  }
  return {
    pack: (messages) => {
      const all = messages.slice()
      const i = random.int(all.length)
      if (random.chance(0.8)) all[i] = changed(random, all[i] as Bytes)
      else [all[i], all[(i + 1) % all.length]] = [all[(i + 1) % all.length] as Bytes, all[i] as Bytes]
      return random.chance(0.5) ? all : [concat(...all)]
    },
  }
}

/** Milliseconds after which a client that waits for more of what was cut is told the end. */
const IDLE_MS = 60

test(
  `the same with ${ROUNDS} of TLS 1.2, and servers that do not look at what the client says`,
  { timeout: 30_000 + ROUNDS * 60 },
  async () => {
    const key = await credentials(0x0403)
    const [certificate, keyExchange, done] = FLIGHT_12 as [Step12, Step12, Step12]
    let honest = 0
    for (let seed = 1; seed <= ROUNDS; seed++) {
      const random = new Random(seed)
      const flight = random.chance(0.3) ? [certificate, keyExchange, certificateRequest12, done] : FLIGHT_12
      const intact = seed % 100 === 0
      const { client, server } = pipe()
      const plan: Behaviour12 = { version: 12, flight, ...(intact ? {} : { careless: random.chance(0.5), ...tampering12(random) }) }
      let idle: ReturnType<typeof setTimeout> | undefined
      const end = () => server.end()
      new TestServer12(server, key, plan)
        .accept(() => void (idle = setTimeout(end, intact ? 5_000 : IDLE_MS)))
        .then(() => intact || end(), end)
      const outcome = await connectTls(client, { host: 'localhost', verify: () => {}, signal: AbortSignal.timeout(5_000) }).catch(
        (error: unknown) => error,
      )
      clearTimeout(idle)
      if (intact) honest += Number(!(outcome instanceof Error))
      else expect(outcome, `seed ${seed}`).toBeInstanceOf(TlsError)
    }
    expect(honest).toBe(Math.floor(ROUNDS / 100))
  },
)
