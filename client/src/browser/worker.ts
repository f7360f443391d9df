import { Engine } from '../core/engine.ts'
import { ProblemError, problemOf } from '../core/problem.ts'
import type { Identity } from '../core/token.ts'
import type { SyncOptions, UploadResult, UploadTransaction } from '../types.ts'
import {
  channelName,
  ownerLock,
  workerLock,
  type OwnerMessage,
  type WorkerInput,
  type WorkerOutput,
} from './messages.ts'
import { openFile } from './opfs-file.ts'
import { Owner } from './owner.ts'

// Waits for the lock of the database, and then owns it for the rest of this tab's life, with its file handles, stream
// and queue.

type Answer = Extract<WorkerInput, { answer: number }>
const questions = new Map<number, { done: (answer: Answer) => void; failed: (error: Error) => void }>()
let lastQuestion = 0

const tell = (output: WorkerOutput): void => postMessage(output)

function ask(question: { auth: true } | { upload: UploadTransaction; token: string }): Promise<Answer> {
  const id = ++lastQuestion
  tell({ ask: id, ...question })
  return new Promise((done, failed) => questions.set(id, { done, failed }))
}

async function identify(): Promise<Identity> {
  const answer = await ask({ auth: true })
  if (!('identity' in answer)) throw new ProblemError('network', 'the page did not return a token')
  return answer.identity
}

async function upload(transaction: UploadTransaction, { token }: { token: string }): Promise<UploadResult> {
  const answer = await ask({ upload: transaction, token })
  if (!('result' in answer)) throw new ProblemError('network', 'the page did not return a result')
  return answer.result
}

addEventListener('message', ({ data }: MessageEvent<WorkerInput>) => {
  if ('open' in data) {
    own(data).catch((error: unknown) => tell({ failed: problemOf(error, 'storage') }))
    return
  }
  const question = questions.get(data.answer)
  questions.delete(data.answer)
  if ('problem' in data) question?.failed(new ProblemError(data.problem.code, data.problem.message))
  else question?.done(data)
})

/** Ends the worker. Its tab starts another one. */
function fatal(error: Error): void {
  console.error('rockpool: the worker ends', error)
  close()
}

async function own({ open, uploads, tab, worker, opened }: Extract<WorkerInput, { open: unknown }>): Promise<void> {
  const name = open.name ?? 'rockpool'
  void navigator.locks.request(workerLock(name, worker), () => {
    tell({ alive: true })
    return new Promise(() => {})
  })
  await navigator.locks.request(ownerLock(name), async () => {
    const channel = new BroadcastChannel(channelName(name))
    const { db, storage } = await openFile(name, {
      opened,
      fatal,
      blocked(problem, retryAt) {
        const message: OwnerMessage = { to: 'tab', blocked: problem, retryAt }
        channel.postMessage(message)
      },
    })
    tell({ opened: storage.kind })
    const options: SyncOptions = { ...open, auth: async () => (await identify()).token, ...(uploads ? { upload } : {}) }
    const engine = new Engine(db, { ...options, identify }, storage)
    await engine.opened
    await new Owner({ engine, channel, name, tab }).over
    tell({ ended: true })
  })
}
