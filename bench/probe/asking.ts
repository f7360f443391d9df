import type { RawWebSocket } from '../../test/wire/web-socket.ts'
import type { Probe } from './probe.ts'

// Types that all questions of the probe share.

export interface Sizes {
  /** Objects called at once, and how long each waits. */
  calls: number
  waitMs: number
  writes: number
  /** Messages of work, and how long each should take. */
  messages: number
  workMs: number
  /** How much is sent to a socket that nobody reads. */
  megabytes: number
  alarmCalls: number
  /** Records that are decrypted. */
  records: number
  /** Objects that are asked for their isolate. */
  objects: number
  /** Sockets that stay open, and how long they are watched. */
  sockets: number
  watchSeconds: number
}

/** Limits that the Worker was deployed with. */
export const CPU_MS = 2_000
export const SUBREQUESTS = 1_000

export const FULL: Sizes = {
  calls: 48,
  waitMs: 500,
  writes: 50,
  messages: 40,
  workMs: 250,
  megabytes: 256,
  alarmCalls: 3_000,
  records: 50_000,
  objects: 64,
  sockets: 20,
  watchSeconds: 360,
}
export const QUICK: Sizes = {
  calls: 12,
  waitMs: 100,
  writes: 5,
  messages: 5,
  workMs: 5,
  megabytes: 8,
  alarmCalls: 200,
  records: 200,
  objects: 6,
  sockets: 3,
  watchSeconds: 1,
}

export interface Asking {
  sizes: Sizes
  deploy: (() => Promise<void>) | null
  /** HOST:PORT of a Postgres, to which alarms hold three sockets as the replicator does. */
  source: string | null
  /** HOST:PORT of something that has an IPv6 address alone. */
  ipv6: string | null
}

export interface Question {
  name: string
  question: string
  /** In words, with the figures behind them. */
  ask(probe: Probe, asking: Asking): Promise<string>
}

export const sleep = (milliseconds: number) => new Promise<void>((resolve) => setTimeout(resolve, milliseconds))
export const unique = () => crypto.randomUUID()
export const ms = (value: number) => `${Math.round(value * 10) / 10} ms`

/**
 * How many million rounds take about `workMs`, and how long they take. Null: the socket was closed before that was
 * found out.
 */
export async function calibrated(
  work: (rounds: number) => Promise<number | null>,
  workMs: number,
): Promise<{ rounds: number; each: number } | null> {
  const network = (await work(0)) ?? 0
  let rounds = 1
  let took = await work(rounds)
  for (let spent = 0; took !== null && took - network < workMs && spent < CPU_MS / 4; spent += took ?? 0)
    took = await work((rounds *= 2))
  return took === null ? null : { rounds, each: Math.max(0, took - network) }
}

/** Work over a socket, in milliseconds. Null: it was closed. */
export async function worker(
  probe: Probe,
): Promise<{ work: (rounds: number) => Promise<number | null>; socket: RawWebSocket }> {
  const socket = await probe.socket('/work')
  const work = async (rounds: number): Promise<number | null> => {
    const began = performance.now()
    socket.send(String(rounds))
    return typeof (await socket.next()) === 'string' ? performance.now() - began : null
  }
  return { work, socket }
}
