import { z } from 'zod'
import { summary } from '../statistics.ts'
import { ALARM_QUESTIONS } from './alarm-questions.ts'
import { calibrated, CPU_MS, ms, sleep, unique, worker, type Question } from './asking.ts'
import { SOURCE_QUESTIONS } from './source-questions.ts'

const instance = z.object({ instance: z.string(), isolate: z.string(), version: z.string(), sockets: z.number() })
const calls: Question = {
  name: 'calls',
  question: 'Do calls of objects queue behind six connections?',
  async ask(probe, { sizes: { calls: n, waitMs } }) {
    const { total } = await probe.get(z.object({ total: z.number() }), '/calls', { n, wait: waitMs })
    const together = Math.max(1, Math.round((n * waitMs) / Math.max(total, 1)))
    const words = together * 2 > n ? 'no, they run side by side' : `yes, about ${together} at a time`
    return `${words}: ${n} calls of ${waitMs} ms took ${total} ms`
  },
}

const writes: Question = {
  name: 'writes',
  question: 'How long does a confirmed write take?',
  async ask(probe, { sizes: { writes: n } }) {
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
  async ask(probe, { sizes: { messages, workMs } }) {
    const { work, socket } = await worker(probe)
    const found = await calibrated(work, workMs)
    let done = 0
    let going = found !== null
    while (found && going && done < messages) if ((going = (await work(found.rounds)) !== null)) done++
    const each = found?.each ?? 0
    const figures = `${done} messages of about ${ms(each)} each, with a limit of ${CPU_MS} ms`
    if (going) {
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
  async ask(probe, { sizes: { megabytes } }) {
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

const update: Question = {
  name: 'update',
  question: 'Do hibernated sockets survive a deferred update?',
  async ask(probe, { sizes: { sockets: n, watchSeconds }, deploy }) {
    if (deploy === null) return 'not asked: it needs --deploy'
    const path = `/objects/${unique()}`
    const sockets = await Promise.all(Array.from({ length: n }, () => probe.socket(`${path}/socket`)))
    const closed: string[] = []
    for (const socket of sockets) void socket.next().then((message) => void closed.push(JSON.stringify(message)))
    const before = await probe.get(instance, path)
    await deploy()
    for (let second = 0; second < watchSeconds && closed.length < n; second++) await sleep(1_000)
    const after = await probe.get(instance, path)
    const updated =
      after.version === before.version ? 'the object still runs the old code' : 'the object runs the new code'
    for (const socket of sockets) socket.destroy()
    return `${n - closed.length} of ${n} are open after ${watchSeconds} s, ${updated}${closed[0] === undefined ? '' : `; ${closed[0]}`}`
  },
}

const isolates: Question = {
  name: 'isolates',
  question: 'Do objects of one class share isolates?',
  async ask(probe, { sizes: { objects } }) {
    const name = unique()
    const answers = await Promise.all(
      Array.from({ length: objects }, (_, i) => probe.get(instance, `/objects/${name} ${i}`)),
    )
    const sizes = [...Map.groupBy(answers, ({ isolate }) => isolate).values()]
      .map(({ length }) => length)
      .sort((a, b) => b - a)
    return `${sizes[0] === 1 ? 'no' : 'yes'}: ${objects} objects are in ${sizes.length} isolates, of ${sizes.slice(0, 8).join(', ')}`
  },
}

export const QUESTIONS: readonly Question[] = [
  calls,
  memory,
  budget,
  update,
  writes,
  isolates,
  ...ALARM_QUESTIONS,
  ...SOURCE_QUESTIONS,
]
