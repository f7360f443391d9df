import { z } from 'zod'
import { summary } from '../statistics.ts'
import { calibrated, CPU_MS, ms, sleep, SUBREQUESTS, unique, worker, type Asking, type Question } from './asking.ts'
import type { AlarmAnswer, AlarmTask } from './messages.ts'
import type { Probe } from './probe.ts'

// Questions to an object inside its alarm, where sessions of the replicator run. With --source it holds three sockets
// meanwhile.

const times = z.array(z.number())
const answer: z.ZodType<AlarmAnswer> = z.object({
  done: z.number(),
  ended: z.boolean(),
  error: z.string().nullable(),
  times,
  answers: times,
  answersBehindWrites: times,
})
/** An alarm that was ended by the platform begins again after some seconds, and says so then. */
const LONGEST_MS = 15 * 60_000
const POLL_MS = 250

type Wish = Omit<AlarmTask, 'source'>

/** Returns what an alarm has come to. `quietMs`: so long nobody calls its object. */
async function ended(probe: Probe, { what, n, wait }: Wish, source: string | null, quietMs = 0): Promise<AlarmAnswer> {
  const path = `/objects/${unique()}/alarm`
  await probe.post(path, { what, n, wait, ...(source === null ? {} : { source }) })
  await sleep(quietMs)
  const until = Date.now() + LONGEST_MS
  for (;;) {
    const found = await probe.get(answer, path)
    if (found.ended) return found
    if (Date.now() > until)
      throw new Error(`the alarm has not ended after ${LONGEST_MS / 60_000} minutes, with ${found.done} done`)
    await sleep(POLL_MS)
  }
}

const holding = ({ source }: Asking) => (source === null ? 'without sockets' : 'with three sockets')

const subrequests: Question = {
  name: 'alarm',
  question: 'Do all calls of one alarm share one budget of subrequests?',
  async ask(probe, asking) {
    const { done, error } = await ended(probe, { what: 'calls', n: asking.sizes.alarmCalls, wait: 0 }, asking.source)
    const figures = `${done} calls ${holding(asking)}`
    if (error !== null) return `yes, it ended after ${figures}, with a limit of ${SUBREQUESTS}: ${error}`
    return done > SUBREQUESTS
      ? `no, or there is no limit: ${figures}, with a limit of ${SUBREQUESTS}`
      : `not reached: ${figures}`
  },
}

const together: Question = {
  name: 'alarm',
  question: 'Do calls of an alarm queue behind six connections?',
  async ask(probe, asking) {
    const { calls: n, waitMs } = asking.sizes
    const { times, error } = await ended(probe, { what: 'together', n, wait: waitMs }, asking.source)
    if (error !== null) throw new Error(error)
    const [total = 0] = times
    const atATime = Math.max(1, Math.round((n * waitMs) / Math.max(total, 1)))
    const words = atATime * 2 > n ? 'no, they run side by side' : `yes, about ${atATime} at a time`
    return `${words}: ${n} calls of ${waitMs} ms took ${total} ms ${holding(asking)}`
  },
}

const budget: Question = {
  name: 'alarm',
  question: 'Do calls of its object renew the CPU budget of an alarm?',
  async ask(probe, asking) {
    const { messages: n, workMs } = asking.sizes
    const { work, socket } = await worker(probe)
    const found = await calibrated(work, workMs)
    socket.destroy()
    if (!found) throw new Error('the socket was closed before it was known how long a piece of work takes')
    const task: Wish = { what: 'work', n, wait: found.rounds }
    const alone = await ended(probe, task, asking.source, n * found.each * 2)
    const called = await ended(probe, task, asking.source)
    const told = ({ done, error }: AlarmAnswer) => (error === null ? `all ${done}` : `${done} (${error})`)
    const figures = `of ${n} pieces of about ${ms(found.each)}, with a limit of ${CPU_MS} ms, an alarm did ${told(alone)} alone, and ${told(called)} while its object was called, ${holding(asking)}`
    if (n * found.each <= CPU_MS) return `not reached: ${figures}`
    if (alone.error === null) return `there is no limit: ${figures}`
    return `${called.error === null ? 'yes' : 'no'}: ${figures}`
  },
}

const writes: Question = {
  name: 'alarm',
  question: 'Do storage.sync() and what an alarm sends wait for a write?',
  async ask(probe, asking) {
    const { writes: n } = asking.sizes
    const { times, answers, answersBehindWrites, error } = await ended(
      probe,
      { what: 'writes', n, wait: 0 },
      asking.source,
    )
    if (error !== null) throw new Error(error)
    const sync = `storage.sync() after a write has a median of ${ms(summary(times).median)}`
    if (answers.length === 0) return `${sync} (n ${n}); what TCP does was not asked: it needs --source`
    const [without, behind] = [summary(answers).median, summary(answersBehindWrites).median]
    return `${sync}; an answer over TCP one of ${ms(without)}, and of ${ms(behind)} behind a write that is not confirmed yet (n ${n})`
  },
}

export const ALARM_QUESTIONS: readonly Question[] = [subrequests, together, budget, writes]
