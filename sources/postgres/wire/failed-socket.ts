import { EventEmitter } from 'node:events'

/**
 * Takes the place of a socket that could not be opened. When its `socket` option throws, the driver does not recover,
 * and later queries wait for ever. It does recover from a socket that fails at once.
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
