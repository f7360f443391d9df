import { DirectStreams, type DirectState } from '../../durable-objects/bucket/direct.ts'
import type { LogLimits } from '../../durable-objects/bucket/limits.ts'
import { Log } from '../../durable-objects/bucket/log.ts'
import { opChecksumOf, opIdOf, rowKeyOf, splitOps } from '../../protocol/op-text.ts'
import type { Database } from '../../durable-objects/shared/database.ts'
import { addChecksums } from '../../protocol/checksum.ts'
import type {
  AppendRequest,
  BucketState,
  PublishAnswer,
  ReadAnswer,
  RowsAnswer,
  StateAnswer,
} from '../../protocol/messages/bucket.ts'
import type { Serving } from '../../protocol/messages/replicator.ts'
import { End } from './sim.ts'
import type { World } from './world.ts'

/** What a direct stream hears: texts, and how its socket was closed. */
type Out = string
interface Socket {
  end: End<Out, string>
  saved: DirectState | null
}

/**
 * A bucket object: the real log and the real direct streams, over storage that survives. Compaction comes at any time.
 */
export class SimBucket {
  readonly name: string
  readonly #world: World
  readonly #db: Database
  readonly #limits: Partial<LogLimits>
  /** Checksum of everything up to an op, never compacted: what exact answers are compared with. */
  readonly #sums: { id: number; sum: number }[] = []
  /** Ops of a row, in order. */
  readonly #ids = new Map<string, number[]>()
  readonly #sockets = new Set<Socket>()
  #log: Log
  #direct: DirectStreams<Socket>
  #inc = 0
  /** Calls under way: the platform does not let the object sleep meanwhile. */
  #busy = 0
  #compacting = false

  constructor(world: World, name: string, db: Database) {
    this.#world = world
    this.name = name
    this.#db = db
    const { sim } = world
    this.#limits = {
      extendedBytes: sim.int(2) * sim.int(500),
      pageBytes: 150 + sim.int(1_000),
      pages: 2 + sim.int(4),
      keys: 1 + sim.int(5),
      afterBytes: 100,
    }
    this.#log = new Log(db, this.#limits)
    this.#direct = this.#newDirect()
  }

  append(request: Omit<AppendRequest, 'v'>): BucketState {
    let { id: head, sum } = this.#sums.at(-1) ?? { id: 0, sum: 0 }
    for (const text of splitOps(request.body)) {
      if (opIdOf(text) <= head) continue
      head = opIdOf(text)
      sum = addChecksums(sum, opChecksumOf(text))
      this.#sums.push({ id: head, sum })
      const key = rowKeyOf(text) ?? ''
      this.#ids.set(key, [...(this.#ids.get(key) ?? []), head])
    }
    const state = this.#log.append(request)
    // Of what was committed long ago nobody waits for the answer.
    const exact = this.#sums.findLast(({ id }) => id <= request.last)?.sum ?? 0
    if (request.last > this.#world.replicator.serving.checkpoint && state.checksum !== exact)
      this.#world.violate(`I3: ${this.name} answers the append up to ${request.last} with a state that is not exact`)
    this.#compactLater()
    return state
  }

  state(checkpoint: number): StateAnswer {
    const answer = this.#log.stateAt(checkpoint)
    if (checkpoint > this.#world.replicator.serving.checkpoint)
      this.#world.violate(`I2: the state at ${checkpoint}, which is not committed`)
    const exact = this.#sums.findLast(({ id }) => id <= checkpoint)?.sum ?? 0
    if (answer.kind === 'overtaken') this.#overtaken('states', checkpoint)
    if (answer.kind === 'state' && answer.checksum !== exact)
      this.#world.violate(`I3: the state of ${this.name} at ${checkpoint} is not exact`)
    return answer
  }

  read(after: number, checkpoint: number, budget: number): ReadAnswer {
    const answer = this.#log.read(after, checkpoint, budget)
    if (answer.kind === 'overtaken') this.#overtaken('reads', checkpoint)
    if (answer.kind === 'ops' && answer.body.includes('"op":"CLEAR"')) this.#world.count('CLEAR read')
    for (const text of answer.kind === 'ops' ? splitOps(answer.body) : []) {
      const newer = this.#ids.get(rowKeyOf(text) ?? 'none')?.find((id) => id > opIdOf(text))
      if (newer !== undefined && newer <= checkpoint)
        this.#world.violate(`${this.name}: op ${opIdOf(text)} is sent beside ${newer}`)
    }
    return answer
  }

  rows(checkpoint: number): RowsAnswer {
    const answer = this.#log.rows(checkpoint)
    if (answer.kind === 'overtaken') this.#overtaken('rows', checkpoint)
    return answer
  }

  /** Of what is served, for however long, every bucket can answer. */
  #overtaken(what: string, checkpoint: number): void {
    this.#world.count(`${what} overtaken`)
    if (checkpoint >= this.#world.replicator.serving.checkpoint)
      this.#world.violate(`I3: ${this.name} cannot answer for ${checkpoint}, which is served`)
  }

  publish(serving: Serving): PublishAnswer {
    return this.#direct.publish(serving)
  }

  accept(after: number, plan: string | null): End<string, Out> {
    const [end, theirs] = End.pair<Out, string>(this.#world.sim)
    const socket: Socket = { end, saved: null }
    this.#sockets.add(socket)
    this.#listen(socket)
    this.#direct.accept(socket, { after, expires: 1, plan })
    return theirs
  }

  crash(): void {
    this.#restart()
    for (const { end } of this.#sockets) end.kill()
    this.#sockets.clear()
    this.#direct = this.#newDirect()
  }

  /** Memory is gone, sockets and their attachments are not. */
  hibernate(): void {
    if (this.#busy > 0) return
    if (this.#sockets.size > 0) this.#world.count('direct streams hibernated')
    this.#restart()
    this.#direct = this.#newDirect()
    this.#direct.wake(
      [...this.#sockets].flatMap((socket): [Socket, DirectState][] => (socket.saved ? [[socket, socket.saved]] : [])),
    )
  }

  #restart(): void {
    this.#inc++
    this.#busy = 0
    this.#compacting = false
    if (this.#world.sim.chance(0.5)) this.#log.pauseCompaction()
    this.#log = new Log(this.#db, this.#limits)
  }

  #listen(socket: Socket): void {
    socket.end.onMessage = (text) => this.#direct.message(socket, text)
    socket.end.onClose = () => {
      this.#sockets.delete(socket)
      this.#direct.gone(socket)
    }
  }

  /** Some steps now, some later, and between them whatever else happens. */
  #compactLater(): void {
    const { sim } = this.#world
    if (this.#compacting || !this.#log.worthCompacting || sim.chance(0.5)) return
    this.#compacting = true
    const inc = this.#inc
    const step = (): void => {
      if (this.#inc !== inc) return
      this.#world.count('steps of compaction')
      if (this.#log.compact() === null) this.#compacting = false
      else sim.later(step)
    }
    sim.later(step)
  }

  #newDirect(): DirectStreams<Socket> {
    const inc = this.#inc
    return new DirectStreams<Socket>(
      this.#log,
      {
        send: (socket, text) => socket.end.send(text),
        close: (socket) => {
          this.#sockets.delete(socket)
          socket.end.close()
        },
        save: (socket, state) => (socket.saved = structuredClone(state)),
        watch: (_, answer) => void this.#watch(inc, answer),
        now: () => 0,
      },
      { frame: 200, length: 500, frames: 3 },
    )
  }

  async #watch(inc: number, answer: (serving: Serving) => void): Promise<void> {
    this.#busy++
    while (this.#inc === inc) {
      const serving = await this.#world.sim.rpc(() => this.#world.replicator.watch(this.name)).catch(() => null)
      if (this.#inc !== inc) return
      if (!serving) continue
      this.#busy--
      answer(serving)
      return
    }
  }
}
