import type { AlarmAnswer, AlarmTask } from '../messages.ts'
import { answersOf, hold } from './sockets.ts'
import type { Subject } from './subject.ts'
import { work } from './work.ts'

/** Calls that are under way together. */
const TOGETHER = 50
const OTHERS = 5
/** As the replicator has to Postgres. */
const SOCKETS = 3

export const NOTHING_YET: AlarmAnswer = {
  done: 0,
  ended: false,
  error: null,
  times: [],
  answers: [],
  answersBehindWrites: [],
}

/** Does what the alarm is for. `saved`: what is done is durable before the next begins. Throws what ends it. */
export async function perform(
  { what, n, wait, source }: AlarmTask,
  answer: AlarmAnswer,
  {
    storage,
    subjects,
    saved,
  }: { storage: DurableObjectStorage; subjects: DurableObjectNamespace<Subject>; saved: () => Promise<void> },
): Promise<void> {
  const close = source === null ? () => {} : await hold(source, SOCKETS)
  try {
    if (what === 'calls') await calls()
    else if (what === 'together') await together()
    else if (what === 'work') await works()
    else await writes()
  } finally {
    close()
  }

  async function calls(): Promise<void> {
    const others = Array.from({ length: OTHERS }, (_, i) => subjects.getByName(`other ${i}`))
    for (; answer.done < n; answer.done += TOGETHER) {
      await Promise.all(Array.from({ length: TOGETHER }, (_, i) => others[i % OTHERS]?.nothing()))
      await saved()
    }
  }

  async function together(): Promise<void> {
    const others = Array.from({ length: n }, (_, i) => subjects.getByName(`waiter ${i}`))
    // Waking them is not what is asked.
    for (const other of others) await other.nothing()
    answer.times.push(await timed(() => Promise.all(others.map((other) => other.wait(wait)))))
    answer.done = n
  }

  async function works(): Promise<void> {
    for (; answer.done < n; answer.done++) {
      work(wait)
      await saved()
    }
  }

  async function writes(): Promise<void> {
    const write = () => storage.sql.exec('INSERT OR REPLACE INTO rows VALUES (1, ?)', crypto.randomUUID())
    for (; answer.done < n; answer.done++) {
      write()
      answer.times.push(await timed(() => storage.sync()))
      if (source === null) continue
      answer.answers.push(await answersOf(source))
      write()
      answer.answersBehindWrites.push(await answersOf(source))
      await storage.sync()
    }
  }
}

/** In milliseconds. The clock stands still while code computes, and goes on when something has come. */
async function timed(run: () => Promise<unknown>): Promise<number> {
  const began = Date.now()
  await run()
  return Date.now() - began
}
