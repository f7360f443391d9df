import { fork, type ChildProcess } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { CallName, Calls, Reply } from './client/calls.ts'

const MAIN = fileURLToPath(new URL('client/main.ts', import.meta.url))

/** A process full of clients. */
export class Clients {
  readonly #process: ChildProcess
  readonly #waiting = new Map<number, { resolve: (answer: unknown) => void; reject: (error: Error) => void }>()
  #calls = 0
  #stopped = false

  constructor() {
    this.#process = fork(MAIN, [], { execArgv: ['--max-old-space-size=4096'] })
    this.#process.on('message', (text) => {
      const reply: Reply = JSON.parse(String(text))
      const waiting = this.#waiting.get(reply.id)
      this.#waiting.delete(reply.id)
      if ('error' in reply) waiting?.reject(new Error(`clients: ${reply.error}`))
      else waiting?.resolve(reply.answer)
    })
    this.#process.on('exit', (code) => {
      this.#stopped = true
      for (const { reject } of this.#waiting.values())
        reject(new Error(`the process of the clients ended with ${code}`))
      this.#waiting.clear()
    })
  }

  call<N extends CallName>(call: N, ask: Calls[N]['ask']): Promise<Calls[N]['answer']> {
    if (this.#stopped) return Promise.reject(new Error('the process of the clients has ended'))
    const id = ++this.#calls
    return new Promise<Calls[N]['answer']>((resolve, reject) => {
      // The process answers each call by the handler of that call.
      this.#waiting.set(id, { resolve: (answer) => resolve(answer as Calls[N]['answer']), reject })
      this.#process.send(JSON.stringify({ id, call, ask }))
    })
  }

  async stop(): Promise<void> {
    if (this.#stopped) return
    const ended = new Promise<void>((resolve) => this.#process.once('exit', () => resolve()))
    this.#process.kill('SIGKILL')
    await ended
  }
}
