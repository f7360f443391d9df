import { DurableObject } from 'cloudflare:workers'
import type { AppendRequest, BucketRpc, BucketState, ReadAnswer, RowsAnswer, StateAnswer, Versioned } from '../../protocol/messages.ts'
import type { OpId } from '../../protocol/ops.ts'
import { durableDatabase } from '../durable-database.ts'
import type { Environment } from '../environment.ts'
import { enableFaults, pause } from '../faults.ts'
import { checkVersion } from '../version.ts'
import { Log } from './log.ts'

/** One bucket: its op log. Replies leave when what was written is durable (the platform's output gate). */
export class Bucket extends DurableObject<Environment> implements BucketRpc {
  readonly #log: Log

  constructor(ctx: DurableObjectState, env: Environment) {
    super(ctx, env)
    enableFaults(env.FAULTS)
    this.#log = new Log(durableDatabase(ctx.storage))
  }

  async append(request: AppendRequest): Promise<BucketState> {
    checkVersion(request)
    await pause('bucket.append', { object: this.ctx })
    const state = this.#log.append(request)
    await pause('bucket.appended', { object: this.ctx })
    return state
  }

  async state(request: Versioned & { checkpoint: OpId }): Promise<StateAnswer> {
    checkVersion(request)
    await pause('bucket.state', { object: this.ctx })
    if (this.#log.overtaken(request.checkpoint)) return { kind: 'overtaken' }
    return { kind: 'state', ...this.#log.state(request.checkpoint) }
  }

  async read(request: Versioned & { after: OpId; checkpoint: OpId; budget: number }): Promise<ReadAnswer> {
    checkVersion(request)
    await pause('bucket.read', { object: this.ctx })
    if (this.#log.overtaken(request.checkpoint)) return { kind: 'overtaken' }
    return this.#log.read(request.after, request.checkpoint, request.budget)
  }

  async rows(request: Versioned & { checkpoint: OpId }): Promise<RowsAnswer> {
    checkVersion(request)
    await pause('bucket.rows', { object: this.ctx })
    if (this.#log.overtaken(request.checkpoint)) return { kind: 'overtaken' }
    return this.#log.rows(request.checkpoint)
  }
}
