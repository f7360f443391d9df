import { EventEmitter } from 'node:events'

/**
 * Stands for a socket that could not be opened. The driver has no way back from a `socket` option that throws: later queries would wait for ever.
 * From a socket that fails at once it recovers.
 */
export class FailedSocket extends EventEmitter {
  readyState = 'closed'

  constructor(error: unknown) {
    super()
    setTimeout(() => {
      if (this.listenerCount('error') > 0) this.emit('error', error)
      this.emit('close')
    }, 0)
  }

  write(): boolean {
    return true
  }

  end(): void {}
  destroy(): void {}
  pause(): void {}
  resume(): void {}
}
