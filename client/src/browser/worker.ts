import { Engine } from '../core/engine.ts'
import { ProblemError } from '../core/problem.ts'
import type { UploadResult } from '../types.ts'
import { channelName, ownerLock, type WorkerInput, type WorkerOutput } from './messages.ts'
import { Owner } from './owner.ts'
import { openWasmSqlite } from './wasm-sqlite.ts'

// Waits for the lock of the database, and then owns it for the rest of this tab's life: file handles, stream, queue.

const questions = new Map<number, { done: (value: { token?: string; result?: UploadResult }) => void; failed: (error: Error) => void }>()
let lastQuestion = 0

function ask(
  question: { auth: true } | { upload: Parameters<Uploads>[0]; token: string },
): Promise<{ token?: string; result?: UploadResult }> {
  const id = ++lastQuestion
  const output: WorkerOutput = { ask: id, ...question }
  postMessage(output)
  return new Promise((done, failed) => questions.set(id, { done, failed }))
}

type Uploads = NonNullable<ConstructorParameters<typeof Engine>[1]['upload']>

addEventListener('message', ({ data }: MessageEvent<WorkerInput>) => {
  if ('open' in data) {
    void own(data).catch((error: unknown) => {
      const output: WorkerOutput = { failed: error instanceof Error ? error.message : String(error) }
      postMessage(output)
    })
    return
  }
  const question = questions.get(data.answer)
  questions.delete(data.answer)
  if ('problem' in data) question?.failed(new ProblemError(data.problem.code, data.problem.message))
  else question?.done(data)
})

async function own({ open, uploads }: Extract<WorkerInput, { open: unknown }>): Promise<void> {
  const name = open.name ?? 'rockpool'
  await navigator.locks.request(ownerLock(name), async () => {
    const { db, storage } = await openWasmSqlite(name)
    const upload: Uploads = async (transaction, { token }) => {
      const { result } = await ask({ upload: transaction, token })
      if (!result) throw new ProblemError('network', 'the page answered no result')
      return result
    }
    const auth = async (): Promise<string> => (await ask({ auth: true })).token ?? ''
    const engine = new Engine(db, { ...open, auth, ...(uploads ? { upload } : {}) }, storage)
    new Owner(engine, new BroadcastChannel(channelName(name)), name)
    await new Promise(() => {})
  })
}
