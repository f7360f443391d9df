import { DurableObject } from 'cloudflare:workers'
import type { AlarmAnswer, InstanceAnswer } from '../messages.ts'

export interface ProbeEnvironment {
  SUBJECT: DurableObjectNamespace<Subject>
  /** Who may ask. Without it nobody may. */
  PROBE_TOKEN?: string
  VERSION?: WorkerVersionMetadata
}

const MEGABYTE = 1024 * 1024
/** Calls of an alarm that are under way together. */
const TOGETHER = 50
const OTHERS = 5

/** The object that is asked. */
export class Subject extends DurableObject<ProbeEnvironment> {
  readonly #instance = crypto.randomUUID()

  constructor(ctx: DurableObjectState, env: ProbeEnvironment) {
    super(ctx, env)
    ctx.storage.sql.exec('CREATE TABLE IF NOT EXISTS rows (n INTEGER PRIMARY KEY, text TEXT)')
  }

  instance(): InstanceAnswer {
    return { instance: this.#instance, version: this.env.VERSION?.id ?? '', sockets: this.ctx.getWebSockets().length }
  }

  async wait(milliseconds: number): Promise<void> {
    await scheduler.wait(milliseconds)
  }

  nothing(): void {}

  write(n: number): void {
    this.ctx.storage.sql.exec('INSERT OR REPLACE INTO rows VALUES (?, ?)', n, 'x'.repeat(200))
  }

  /** A socket that may hibernate. */
  override fetch(): Response {
    const [client, socket] = Object.values(new WebSocketPair())
    if (!client || !socket) throw new Error('the runtime made no pair of sockets')
    this.ctx.acceptWebSocket(socket)
    return new Response(null, { status: 101, webSocket: client })
  }

  override webSocketMessage(socket: WebSocket): void {
    socket.send(JSON.stringify(this.instance()))
  }

  override webSocketClose(socket: WebSocket, code: number): void {
    socket.close(code === 1005 || code === 1006 ? 1000 : code)
  }

  /** To every socket, whether anybody reads or not. */
  send(megabytes: number): void {
    const text = 'x'.repeat(MEGABYTE)
    for (const socket of this.ctx.getWebSockets()) for (let n = 0; n < megabytes; n++) socket.send(text)
  }

  /** Lets the next alarm make so many calls of others. */
  async begin(calls: number): Promise<void> {
    await this.ctx.storage.put<AlarmAnswer & { wanted: number }>('alarm', { calls: 0, wanted: calls, ended: false, error: null })
    await this.ctx.storage.setAlarm(Date.now())
  }

  async progress(): Promise<AlarmAnswer> {
    return (await this.ctx.storage.get<AlarmAnswer>('alarm')) ?? { calls: 0, ended: false, error: null }
  }

  override async alarm(): Promise<void> {
    const state = await this.ctx.storage.get<AlarmAnswer & { wanted: number }>('alarm')
    if (!state || state.ended) return
    // An alarm that was ended is tried again.
    if (state.calls > 0) {
      await this.ctx.storage.put('alarm', { ...state, ended: true, error: 'the alarm was ended without an exception' })
      return
    }
    const others = Array.from({ length: OTHERS }, (_, n) => this.env.SUBJECT.getByName(`other ${n}`))
    try {
      while (state.calls < state.wanted) {
        await Promise.all(Array.from({ length: TOGETHER }, (_, n) => others[n % OTHERS]?.nothing()))
        state.calls += TOGETHER
        await this.ctx.storage.put('alarm', state)
      }
    } catch (error) {
      state.error = String(error)
    }
    await this.ctx.storage.put('alarm', { ...state, ended: true })
  }
}
