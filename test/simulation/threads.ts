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
    worker.once('message', (report: Report) => {
      resolve(report)
      void worker.terminate()
    })
    worker.once('error', reject)
    worker.once('exit', () => reject(new Error('the thread ended without a report')))
  })
}
