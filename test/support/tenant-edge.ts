import { randomBytes } from 'node:crypto'
import type { TenantChange } from '../../tenants/stored/record.ts'
import { startEdge, type Edge, type EdgeSettings } from './edge.ts'
import { AUDIENCE, newSecret, token } from './support.ts'

export interface AdminAnswer {
  status: number
  headers: Headers
  data: Record<string, unknown> | undefined
  error: { code: string; description: string } | undefined
}

export type TenantEdgeSettings = Pick<EdgeSettings, 'directory' | 'bindings' | 'log' | 'bundle' | 'front'>

/** An edge that has the tenants of its Directory. Whoever has its development secret is an operator. */
export class TenantEdge {
  readonly edge: Edge
  readonly #secret: string
  #views = 0

  private constructor(edge: Edge, secret: string) {
    this.edge = edge
    this.#secret = secret
  }

  static async start({ bindings, ...settings }: TenantEdgeSettings): Promise<TenantEdge> {
    const jwtSecret = newSecret()
    const edge = await startEdge({
      ...settings,
      databaseUrl: '',
      jwtSecret,
      jwtAudience: AUDIENCE,
      syncConfig: '',
      bindings: { TENANT_KEYS: `k1:${randomBytes(32).toString('base64url')}`, ...bindings },
    })
    return new TenantEdge(edge, jwtSecret)
  }

  urlOf(name: string): string {
    return `${this.edge.url}/t/${name}`
  }

  /** A request to the admin API of the deployment. */
  async admin(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<AdminAnswer> {
    const response = await fetch(`${this.edge.url}/admin/${path}`, {
      method,
      headers: {
        authorization: `Token ${await token(this.#secret, 'ann', 60, { operator: true })}`,
        'x-rockpool-admin': '1',
        'content-type': 'application/json',
        ...headers,
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = await response.text()
    const answer = JSON.parse(text) as Pick<AdminAnswer, 'data' | 'error'>
    return { status: response.status, headers: response.headers, data: answer.data, error: answer.error }
  }

  /** Makes a tenant. Throws what the deployment answers otherwise. */
  async create(name: string, change: Partial<TenantChange>, query = ''): Promise<void> {
    const { status, error } = await this.admin('PUT', `tenants/${name}${query}`, change, { 'if-none-match': '*' })
    if (status !== 201) throw new Error(`the tenant ${name} was answered ${status} ${JSON.stringify(error)}`)
  }

  /**
   * Makes a tenant of what an edge of its own would have as bindings. Its address is that of the tenant; the last one
   * that is disposed of ends the edge.
   */
  async serve(name: string, settings: EdgeSettings): Promise<Edge> {
    this.#views++
    await this.create(name, {
      secrets: { DATABASE_URL: settings.databaseUrl, JWT_SECRET: settings.jwtSecret },
      settings: { SYNC_CONFIG: settings.syncConfig, JWT_AUDIENCE: settings.jwtAudience },
    })
    const { edge } = this
    const url = () => this.urlOf(name)
    let disposed = false
    return {
      get url() {
        return url()
      },
      pid: () => edge.pid(),
      kill9: () => edge.kill9(),
      restart: () => edge.restart(),
      objectIds: (of) => edge.objectIds(of),
      objectTables: (of) => edge.objectTables(of),
      dispose: async () => {
        if (disposed) return
        disposed = true
        if (--this.#views === 0) await edge.dispose()
      },
    }
  }
}
