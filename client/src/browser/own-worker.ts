import { backoff, ProblemError } from '../core/problem.ts'
import { identify, type Identity } from '../core/token.ts'
import type { SyncOptions, SyncProblem } from '../types.ts'
import { workerLock, type WorkerInput, type WorkerOutput } from './messages.ts'

/** The first pause before a worker that ended is replaced, in milliseconds. It grows to half a minute. */
const AGAIN_MS = 1_000
const UPLOAD_MS = 60_000
/** Milliseconds for which the token that the tab requested at the start counts as new. */
const FIRST_MS = 10_000

export interface OwnWorkerOptions {
  options: SyncOptions
  url: string | URL
  name: string
  tab: string
  /** Called when the worker could not start. */
  failed(problem: SyncProblem): void
  /** Called when the database is closed, and no other tab needs this worker any more. */
  ended(): void
}

const mark = (name: string): string => `rockpool:${name}:opened`

/** The worker of this tab. Restarts it when it ends, and answers its requests for what only the page knows. */
export class OwnWorker {
  readonly #with: OwnWorkerOptions
  #worker: Worker | null = null
  /** The first token, which the tab has already requested. */
  #first: Promise<Identity> | null
  #begun = 0
  #alive = false
  #over = false

  constructor(options: OwnWorkerOptions, first: Promise<Identity> | null) {
    this.#with = options
    this.#first = first
    first?.catch(() => {})
    setTimeout(() => (this.#first = null), FIRST_MS)
    this.#begin()
  }

  terminate(): void {
    this.#over = true
    this.#worker?.terminate()
  }

  /** Called when the file was deleted. */
  forget(): void {
    try {
      localStorage.removeItem(mark(this.#with.name))
    } catch {
      // There is no storage for this page.
    }
  }

  #begin(): void {
    const { options, url, name, tab } = this.#with
    const worker = new Worker(url, { type: 'module' })
    const id = crypto.randomUUID()
    this.#worker = worker
    this.#alive = false
    worker.addEventListener('message', ({ data }: MessageEvent<WorkerOutput>) => void this.#message(worker, id, data))
    worker.addEventListener('error', (event) => {
      if (!this.#alive && this.#begun === 0)
        this.#with.failed({
          code: 'storage',
          message: event.message || `the worker ${url} could not be loaded: is \`workerUrl\` right?`,
        })
      else this.#again(worker)
    })
    const { auth: _auth, upload, subject: _subject, ...open } = options
    const input: WorkerInput = {
      open: { ...open, name },
      uploads: upload !== undefined,
      tab,
      worker: id,
      opened: this.#wasOpened(),
    }
    worker.postMessage(input)
  }

  #again(worker: Worker): void {
    if (this.#over || this.#worker !== worker) return
    worker.terminate()
    this.#worker = null
    setTimeout(() => !this.#over && this.#begin(), backoff(++this.#begun, AGAIN_MS))
  }

  async #message(worker: Worker, id: string, message: WorkerOutput): Promise<void> {
    if ('failed' in message) return this.#with.failed(message.failed)
    if ('ended' in message) return this.#with.ended()
    if ('opened' in message) return this.#opened(message.opened)
    if ('alive' in message) {
      this.#alive = true
      // We get its lock when it has gone.
      await navigator.locks.request(workerLock(this.#with.name, id), () => {})
      return this.#again(worker)
    }
    worker.postMessage(await this.#answer(message))
  }

  async #answer(question: Extract<WorkerOutput, { ask: number }>): Promise<WorkerInput> {
    const { options } = this.#with
    const answer = question.ask
    try {
      if ('auth' in question) {
        const asked = this.#first ?? identify(options)
        this.#first = null
        return { answer, identity: await asked }
      }
      const result = await options.upload?.(question.upload, {
        token: question.token,
        signal: AbortSignal.timeout(UPLOAD_MS),
      })
      if (!result) throw new ProblemError('network', 'there is no uploader')
      return { answer, result }
    } catch (error) {
      const code = error instanceof ProblemError ? error.code : 'network'
      return { answer, problem: { code, message: error instanceof Error ? error.message : String(error) } }
    }
  }

  #opened(storage: string): void {
    this.#begun = 0
    try {
      if (storage === 'opfs') localStorage.setItem(mark(this.#with.name), new Date().toISOString())
    } catch {
      // There is no storage for this page: then the files themselves are looked for.
    }
  }

  #wasOpened(): boolean {
    try {
      return localStorage.getItem(mark(this.#with.name)) !== null
    } catch {
      return false
    }
  }
}
