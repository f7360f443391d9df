import type { Commands, Reply } from './opfs-worker.ts'

// Runs in the browser: hands a worker what a test asks for.

export interface OpfsPage {
  /** Begins a worker; the one before it is ended in the middle of whatever it does. */
  begin(): void
  end(): void
  call<C extends keyof Commands>(
    command: C,
    ...args: Parameters<Commands[C]>
  ): Promise<Awaited<ReturnType<Commands[C]>>>
  acknowledged: number[]
}

declare global {
  interface Window {
    opfs: OpfsPage
  }
}

let worker: Worker | null = null
let last = 0
const waiting = new Map<number, { resolve(result: unknown): void; reject(error: Error): void }>()

window.opfs = {
  acknowledged: [],
  begin() {
    worker?.terminate()
    worker = new Worker('/opfs-worker.js', { type: 'module' })
    worker.addEventListener('message', ({ data }: MessageEvent<Reply>) => {
      if ('acknowledged' in data) {
        this.acknowledged.push(data.acknowledged)
        void (window as unknown as { told?(n: number): void }).told?.(data.acknowledged)
        return
      }
      const caller = waiting.get(data.id)
      waiting.delete(data.id)
      if ('error' in data) caller?.reject(new Error(data.error))
      else caller?.resolve(data.result)
    })
  },
  end() {
    worker?.terminate()
  },
  call(command, ...args) {
    const id = ++last
    worker?.postMessage({ id, command, args })
    return new Promise<never>((resolve, reject) =>
      waiting.set(id, { resolve: resolve as (result: unknown) => void, reject }),
    )
  },
}
