import type { ConfigsAnswer, ConfigStatus, DeployAnswer, RollbackAnswer } from '../../protocol/messages/admin.ts'
import type { VerifyAnswer } from '../../protocol/verification.ts'
import { bucketObjectName } from '../../protocol/names.ts'
import { DEFAULT_TENANT } from '../../tenants/single.ts'
import { withObject } from '../random/objects.ts'
import { AUDIENCE, token, until } from './support.ts'

export interface Answered<T> {
  status: number
  data: T
  error: { code: string; description: string; details?: unknown } | undefined
}

export interface Verified extends VerifyAnswer {
  verify: NonNullable<VerifyAnswer['verify']>
}

/** Uses the admin API like an operator. */
export class Operator {
  readonly #url: () => string
  readonly #secret: string
  readonly #audience: string

  constructor(url: () => string, secret: string, audience = AUDIENCE) {
    this.#url = url
    this.#secret = secret
    this.#audience = audience
  }

  async ask<T>(
    method: string,
    path: string,
    body?: string,
    headers: Record<string, string> = {},
  ): Promise<Answered<T>> {
    const response = await fetch(`${this.#url()}/admin/${path}`, {
      method,
      headers: {
        authorization: `Token ${await token(this.#secret, 'ops', 60, { operator: true }, this.#audience)}`,
        'x-rockpool-admin': '1',
        'content-type': 'application/yaml',
        ...headers,
      },
      ...(body === undefined ? {} : { body }),
    })
    const answer: Omit<Answered<T>, 'status'> = await response.json()
    return { ...answer, status: response.status }
  }

  put(yaml: string, query = '', headers: Record<string, string> = {}): Promise<Answered<DeployAnswer>> {
    return this.ask('PUT', `sync-config${query}`, yaml, headers)
  }

  rollback(query = ''): Promise<Answered<RollbackAnswer>> {
    return this.ask('POST', `rollback${query}`)
  }

  async configs(): Promise<ConfigsAnswer> {
    return (await this.ask<ConfigsAnswer>('GET', 'sync-config')).data
  }

  /** Resolves when the config with this number serves. */
  serves(number: number): Promise<ConfigStatus> {
    return until(
      `config ${number} to serve`,
      async () => {
        const { serving } = await this.configs()
        return serving?.number === number && serving
      },
      120,
      () => this.configs(),
    )
  }

  /** Compares everything, and waits for the result. */
  async verify(repair = false): Promise<Verified> {
    const { data, error } = await this.ask<VerifyAnswer>('POST', `verify${repair ? '?repair=1' : ''}`)
    if (!data?.verify) throw new Error(JSON.stringify(error))
    return this.verified()
  }

  /** Resolves with the last verification when it has ended. */
  verified(): Promise<Verified> {
    const answer = async () => (await this.ask<VerifyAnswer>('GET', 'verify')).data
    return until(
      'the verification to end',
      async () => {
        const { verify, differences } = await answer()
        return verify !== null && verify.state !== 'running' && { verify, differences }
      },
      120,
      answer,
    )
  }

  /** Deploys, and waits until it serves. */
  async deploy(yaml: string): Promise<ConfigStatus> {
    const { data, error } = await this.put(yaml)
    if (!data?.config) throw new Error(JSON.stringify(error))
    return this.serves(data.config.number)
  }
}

export interface StoredPage {
  last: number
  count: number
  bytes: number
}

/** Returns the stored pages of every bucket that the replicator knows. A write to a bucket changes one of them. */
export async function storedPages(edgeDirectory: string): Promise<Map<string, StoredPage[]>> {
  const names = await bucketNames(edgeDirectory)
  const pages = new Map<string, StoredPage[]>()
  for (const name of names) {
    const rows = await withObject(edgeDirectory, 'Bucket', await bucketObjectName(DEFAULT_TENANT, name), (db) =>
      db.prepare('SELECT last_op, count, bytes FROM pages ORDER BY last_op').all(),
    )
    pages.set(
      name,
      (rows ?? []).map((row) => ({ last: Number(row.last_op), count: Number(row.count), bytes: Number(row.bytes) })),
    )
  }
  return pages
}

export async function bucketNames(edgeDirectory: string): Promise<string[]> {
  const rows = await withObject(edgeDirectory, 'Replicator', DEFAULT_TENANT, (db) =>
    db.prepare('SELECT name FROM buckets').all(),
  )
  return (rows ?? []).map((row) => String(row.name))
}

/** Returns the number of ops of a bucket object, or null when it has none. */
export async function opsOf(edgeDirectory: string, bucket: string): Promise<number | null> {
  return withObject(edgeDirectory, 'Bucket', await bucketObjectName(DEFAULT_TENANT, bucket), (db) =>
    Number(db.prepare('SELECT coalesce(sum(count), 0) AS n FROM pages').get()?.n ?? 0),
  )
}
