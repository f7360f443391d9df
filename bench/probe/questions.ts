import { z } from 'zod'
import { summary } from '../statistics.ts'
import type { Probe } from './probe.ts'

export interface Sizes {
  /** Objects called at once, and how long each waits. */
  calls: number
  waitMs: number
  writes: number
  /** Messages of work, and how long each should take. */
  messages: number
  workMs: number
  /** What is sent to a socket that nobody reads. */
  megabytes: number
  alarmCalls: number
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
  sockets: 3,
  watchSeconds: 1,
}

export interface Question {
  name: string
  question: string
  /** In words, with the figures behind them. */
  ask(probe: Probe, sizes: Sizes, deploy: (() => Promise<void>) | null): Promise<string>
}

const instance = z.object({ instance: z.string(), version: z.string(), sockets: z.number() })
const alarm = z.object({ calls: z.number(), ended: z.boolean(), error: z.string().nullable() })
const sleep = (milliseconds: number) => new Promise<void>((resolve) => setTimeout(resolve, milliseconds))
const unique = () => crypto.randomUUID()
const ms = (value: number) => `${Math.round(value * 10) / 10} ms`

const calls: Question = {
  name: 'calls',
  question: 'Do calls of objects queue behind six connections?',
  async ask(probe, { calls: n, waitMs }) {
    const { total } = await probe.get(z.object({ total: z.number() }), '/calls', { n, wait: waitMs })
    const together = Math.max(1, Math.round((n * waitMs) / Math.max(total, 1)))
    const words = together * 2 > n ? 'no, they run side by side' : `yes, about ${together} at a time`
    return `${words}: ${n} calls of ${waitMs} ms took ${total} ms`
  },
}

const writes: Question = {
  name: 'writes',
  question: 'How long does a confirmed write take?',
  async ask(probe, { writes: n }) {
    const times = z.array(z.number()).min(1)
    const { idle, writing } = await probe.get(z.object({ idle: times, writing: times }), '/writes', { n })
    const [without, with_] = [summary(idle), summary(writing)]
    const more = ms(with_.median - without.median)
    return `${more}: a call that writes has a median of ${ms(with_.median)} (p95 ${ms(with_.p95)}), one that does not ${ms(without.median)} (n ${n})`
  },
}

const budget: Question = {
  name: 'cpu',
  question: 'Do messages renew the CPU budget of a Worker?',
  async ask(probe, { messages, workMs }) {
    const socket = await probe.socket('/work')
    const work = async (rounds: number): Promise<number | null> => {
      const began = performance.now()
      socket.send(String(rounds))
      return typeof (await socket.next()) === 'string' ? performance.now() - began : null
    }
    const network = (await work(0)) ?? 0
    let rounds = 1
    let took = await work(rounds)
    for (let spent = 0; took !== null && took - network < workMs && spent < CPU_MS / 4; spent += took ?? 0) took = await work((rounds *= 2))
    const each = Math.max(0, (took ?? 0) - network)
    let done = 0
    while (took !== null && done < messages) if ((took = await work(rounds)) !== null) done++
    const figures = `${done} messages of about ${ms(each)} each, with a limit of ${CPU_MS} ms`
    if (took !== null) {
      socket.close()
      if (done * each <= CPU_MS) return `not reached: ${figures}`
      return `yes, or there is no limit: ${figures}`
    }
    return `no, it ended (${JSON.stringify(await socket.next())}) after ${figures}`
  },
}

const memory: Question = {
  name: 'memory',
  question: 'Does what a socket has not sent yet count as memory of its object?',
  async ask(probe, { megabytes }) {
    const name = unique()
    const socket = await probe.socket(`/objects/${name}/socket`)
    socket.pause()
    const before = await probe.get(instance, `/objects/${name}`)
    const step = Math.max(1, megabytes / 16)
    try {
      for (let sent = step; sent <= megabytes; sent += step) {
        const failed = await probe.post(`/objects/${name}/send`, { megabytes: step }).then(
          () => null,
          (error: unknown) => String(error),
        )
        const now = await probe.get(instance, `/objects/${name}`)
        if (failed !== null || now.instance !== before.instance)
          return `yes, the object was reset with ${sent} MB: ${failed ?? 'another instance'}`
        if (now.sockets === 0) return `the socket was closed with ${sent} MB, and the object stayed`
      }
      return `no, not up to ${megabytes} MB`
    } finally {
      socket.destroy()
    }
  },
}

const subrequests: Question = {
  name: 'alarm',
  question: 'Do all calls of one alarm share one budget of subrequests?',
  async ask(probe, { alarmCalls }) {
    const path = `/objects/${unique()}/alarm`
    await probe.post(path, { calls: alarmCalls })
    for (;;) {
      const { calls: n, ended, error } = await probe.get(alarm, path)
      if (ended && error !== null) return `yes, it ended after ${n} calls, with a limit of ${SUBREQUESTS}: ${error}`
      if (ended) return n > SUBREQUESTS ? `no, or there is no limit: ${n} calls, with a limit of ${SUBREQUESTS}` : `not reached: ${n} calls`
      await sleep(500)
    }
  },
}

const update: Question = {
  name: 'update',
  question: 'Do hibernated sockets survive a deferred update?',
  async ask(probe, { sockets: n, watchSeconds }, deploy) {
    if (deploy === null) return 'not asked: it needs --deploy'
    const path = `/objects/${unique()}`
    const sockets = await Promise.all(Array.from({ length: n }, () => probe.socket(`${path}/socket`)))
    const closed: string[] = []
    for (const socket of sockets) void socket.next().then((message) => void closed.push(JSON.stringify(message)))
    const before = await probe.get(instance, path)
    await deploy()
    for (let second = 0; second < watchSeconds && closed.length < n; second++) await sleep(1_000)
    const after = await probe.get(instance, path)
    const updated = after.version === before.version ? 'the object still runs the old code' : 'the object runs the new code'
    for (const socket of sockets) socket.destroy()
    return `${n - closed.length} of ${n} are open after ${watchSeconds} s, ${updated}${closed[0] === undefined ? '' : `; ${closed[0]}`}`
  },
}

export const QUESTIONS: readonly Question[] = [calls, memory, budget, update, writes, subrequests]
