import { Marks } from '../../durable-objects/relay/marks.ts'
import { RelayMachine } from '../../durable-objects/relay/machine.ts'
import type { SavedCheckpoint, SavedStream } from '../../durable-objects/relay/ports.ts'
import type { BucketState, StateAnswer } from '../../protocol/messages/bucket.ts'
import type { RelayFrame, ReplicatorFrame, SubscribeFrame } from '../../protocol/messages/relay.ts'
import { End } from './sim.ts'
import type { World } from './world.ts'

interface RelayStream {
  end: End<RelayFrame, SubscribeFrame | 'ack'>
  unacknowledged: number
  saved: SavedStream
}

const CREDIT_FRAMES = 3
const MARKS = new Marks(new Uint8Array(32))

export class SimRelay {
  readonly name: string
  readonly #world: World
  #inc = 0
  #machine: RelayMachine<RelayStream>
  #streams = new Set<RelayStream>()
  #replicator: { end: End<never, ReplicatorFrame>; saved: SavedCheckpoint | null } | null = null

  constructor(world: World, name: string) {
    this.#world = world
    this.name = name
    this.#machine = this.#newMachine()
  }

  #newMachine(): RelayMachine<RelayStream> {
    const { sim } = this.#world
    const inc = ++this.#inc
    const untilAnswered = async <T>(
      call: () => Promise<T>,
      stale: () => boolean,
      done: (result: T) => void,
      given?: () => void,
    ): Promise<void> => {
      while (this.#inc === inc && !stale()) {
        const result = await call().then(
          (answer) => ({ result: answer }),
          () => null,
        )
        if (this.#inc !== inc) return
        if (!result) continue
        done(result.result)
        return
      }
      if (this.#inc !== inc) return
      if (given) given()
    }
    return new RelayMachine<RelayStream>({
      send: (stream, frame) => {
        stream.unacknowledged++
        stream.end.send(frame)
      },
      hasCredit: (stream) => stream.unacknowledged < CREDIT_FRAMES,
      close: (stream) => {
        this.#streams.delete(stream)
        stream.end.close()
      },
      mark: (name) => MARKS.of(name),
      saveStream: (stream, saved) => {
        stream.saved = saved
      },
      saveCheckpoint: (checkpoint, plan, fenced) => {
        if (this.#replicator) this.#replicator.saved = { checkpoint, plan, fenced }
      },
      ask: (bucket, checkpoint, stale, answer) =>
        void untilAnswered(
          () => this.#world.call(bucket, (each) => stateOf(each.state(checkpoint))),
          stale,
          answer,
          () => answer(null),
        ),
      attach: (done) =>
        void untilAnswered(
          () => sim.rpc(() => this.#world.replicator.attach(this.name)),
          () => false,
          done,
        ),
      committed: (answer) =>
        void untilAnswered(
          () => sim.rpc(() => this.#world.replicator.serving.checkpoint),
          () => false,
          answer,
        ),
    })
  }

  acceptStream(): End<SubscribeFrame | 'ack', RelayFrame> {
    const [end, theirs] = End.pair<RelayFrame, SubscribeFrame | 'ack'>(this.#world.sim)
    const stream: RelayStream = {
      end,
      unacknowledged: 0,
      saved: { marks: [], toldPlan: null, form: undefined, owing: true },
    }
    this.#streams.add(stream)
    end.onMessage = (message) => {
      if (message === 'ack') {
        stream.unacknowledged--
        this.#machine.flush(stream)
      } else this.#machine.subscribe(stream, message)
    }
    end.onClose = () => {
      if (this.#streams.delete(stream)) this.#machine.streamGone(stream)
    }
    this.#machine.streamArrived(stream)
    return theirs
  }

  acceptReplicator(): { end: End<ReplicatorFrame, never> | null; checkpoint: number | null } {
    if (!this.#machine.wants) return { end: null, checkpoint: null }
    const [end, theirs] = End.pair<never, ReplicatorFrame>(this.#world.sim)
    const older = this.#replicator?.end
    this.#replicator = { end, saved: null }
    const checkpoint = this.#machine.checkpoint
    this.#machine.replicatorArrived()
    older?.close()
    end.onMessage = (frame) => this.#machine.receive(frame)
    end.onClose = () => {
      if (this.#replicator?.end === end) this.#replicator = null
    }
    return { end: theirs, checkpoint }
  }

  crash(): void {
    for (const stream of this.#streams) stream.end.kill()
    this.#replicator?.end.kill()
    this.#streams = new Set()
    this.#replicator = null
    this.#machine = this.#newMachine()
  }

  /** At any time: the platform keeps an object awake for what is under way, but not for ever. */
  hibernate(): void {
    this.#machine = this.#newMachine()
    this.#machine.wake(
      this.#replicator?.saved ?? null,
      [...this.#streams].map((stream) => [stream, stream.saved]),
    )
    this.#machine.wants ||= this.#replicator !== null
  }
}

const stateOf = (answer: StateAnswer): BucketState | 'overtaken' => (answer.kind === 'state' ? answer : 'overtaken')
