import { Worker } from 'node:worker_threads'
import type { Report, Task } from './run.ts'

/** Runs schedules in a thread of their own. */
export function inThread(task: Task): Promise<Report> {
  const worker = new Worker(new URL('./run.ts', import.meta.url), {
    workerData: task,
    execArgv: [],
    env: { ...process.env, NODE_OPTIONS: '' },
  })
  return new Promise((resolve, reject) => {
    let report: Report | null = null
    worker.once('message', (message: Report) => {
      report = message
    })
    worker.once('error', reject)
    // It ends by itself: a thread that is ended while SQLite cleans up can take the process with it.
    worker.once('exit', () => (report ? resolve(report) : reject(new Error('the thread ended without a report'))))
  })
}
