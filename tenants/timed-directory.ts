import { RockpoolError } from '../protocol/errors.ts'
import { answered, Unanswered } from '../durable-objects/shared/retry.ts'
import type { CompactionSettings } from './compaction.ts'
import type { TenantDirectory, TenantSecrets } from './directory.ts'
import type { Tenant } from './tenant.ts'

/**
 * A directory whose every answer has a deadline. A session begins by asking it, and while an alarm waits there is no
 * other, so one that hangs would stop a tenant for as long as the platform lets the alarm run. Rejects with
 * ROCKPOOL_UNANSWERED.
 */
export class TimedDirectory implements TenantDirectory {
  readonly #directory: TenantDirectory
  readonly #deadlineMs: number

  constructor(directory: TenantDirectory, deadlineMs: number) {
    this.#directory = directory
    this.#deadlineMs = deadlineMs
  }

  find(name: string, whatever?: 'whatever'): Promise<Tenant> {
    return this.#answered(() => this.#directory.find(name, whatever))
  }

  async *names(): AsyncIterable<string> {
    const names = this.#directory.names()[Symbol.asyncIterator]()
    for (;;) {
      const { done, value } = await this.#answered(() => names.next())
      if (done) return
      yield value
    }
  }

  nameFor(request: Request): Promise<string> {
    return this.#answered(() => this.#directory.nameFor(request))
  }

  secret<Field extends keyof TenantSecrets>(name: string, field: Field): Promise<TenantSecrets[Field]> {
    return this.#answered(() => this.#directory.secret(name, field))
  }

  compaction(name: string): Promise<CompactionSettings> {
    return this.#answered(() => this.#directory.compaction(name))
  }

  async #answered<T>(call: () => Promise<T>): Promise<T> {
    try {
      return await answered(call, this.#deadlineMs)
    } catch (error) {
      if (!(error instanceof Unanswered)) throw error
      throw new RockpoolError(
        'ROCKPOOL_UNANSWERED',
        `the directory of tenants did not answer for ${this.#deadlineMs / 1_000} s`,
      )
    }
  }
}
