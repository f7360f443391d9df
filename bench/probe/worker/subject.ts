import { DurableObject } from 'cloudflare:workers'
import type { AlarmAnswer, AlarmTask, InstanceAnswer } from '../messages.ts'
import { NOTHING_YET, perform } from './alarms.ts'

export interface ProbeEnvironment {
  SUBJECT: DurableObjectNamespace<Subject>
  /** The token that requests need. Without it all are refused. */
  PROBE_TOKEN?: string
  VERSION?: WorkerVersionMetadata
}

const MEGABYTE = 1024 * 1024
/** Of the isolate: the runtime lets nothing random be made before the first request. */
let isolate: string | undefined

interface Alarm {
  task: AlarmTask
  answer: AlarmAnswer
  began: boolean
}

/** The object under test. */
export class Subject extends DurableObject<ProbeEnvironment> {
  readonly #instance = crypto.randomUUID()

  constructor(ctx: DurableObjectState, env: ProbeEnvironment) {
    super(ctx, env)
    ctx.storage.sql.exec('CREATE TABLE IF NOT EXISTS rows (n INTEGER PRIMARY KEY, text TEXT)')
  }

  instance(): InstanceAnswer {
    isolate ??= crypto.randomUUID()
    return {
      instance: this.#instance,
      isolate,
      version: this.env.VERSION?.id ?? '',
      sockets: this.ctx.getWebSockets().length,
    }
  }

  async wait(milliseconds: number): Promise<void> {
    await scheduler.wait(milliseconds)
  }

  nothing(): void {}

  write(n: number): void {
    this.ctx.storage.sql.exec('INSERT OR REPLACE INTO rows VALUES (?, ?)', n, 'x'.repeat(200))
  }

  /** Opens a socket that may hibernate. */
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

  /** Sends to every socket, whether anybody reads it or not. */
  send(megabytes: number): void {
    const text = 'x'.repeat(MEGABYTE)
    for (const socket of this.ctx.getWebSockets()) for (let n = 0; n < megabytes; n++) socket.send(text)
  }

  /** Lets the next alarm do this. */
  async begin(task: AlarmTask): Promise<void> {
    await this.ctx.storage.put<Alarm>('alarm', { task, answer: NOTHING_YET, began: false })
    await this.ctx.storage.setAlarm(Date.now())
  }

  async progress(): Promise<AlarmAnswer> {
    return (await this.ctx.storage.get<Alarm>('alarm'))?.answer ?? NOTHING_YET
  }

  override async alarm(): Promise<void> {
    const { storage } = this.ctx
    const alarm = await storage.get<Alarm>('alarm')
    if (!alarm || alarm.answer.ended) return
    const { task, answer, began } = alarm
    const saved = async () => {
      await storage.put<Alarm>('alarm', { task, answer, began: true })
      await storage.sync()
    }
    // An alarm that was ended is tried again.
    if (began) answer.error = 'the alarm was ended without an exception'
    else {
      await saved()
      try {
        await perform(task, answer, { storage, subjects: this.env.SUBJECT, saved })
      } catch (error) {
        answer.error = String(error)
      }
    }
    answer.ended = true
    await saved()
  }
}
