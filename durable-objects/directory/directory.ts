import { DurableObject } from 'cloudflare:workers'
import { z } from 'zod'
import { RockpoolError } from '../../protocol/errors.ts'
import type { AuditEntry, DirectoryRpc, NamesAnswer, PutRequest, RecordAnswer } from '../../protocol/messages/directory.ts'
import type { Versioned } from '../../protocol/versions.ts'
import { tenantChange } from '../../tenants/stored/record.ts'
import { keyRing, type KeyRing } from '../../tenants/stored/seal.ts'
import type { Environment } from '../environment.ts'
import { durableDatabase } from '../shared/durable-database.ts'
import { objectName } from '../shared/object-name.ts'
import { checkVersion } from '../shared/version.ts'
import { bury, put, rekey, setState } from './decisions.ts'
import { DirectoryStore } from './storage.ts'

const identities = z.array(z.object({ key: z.string(), audiences: z.array(z.string()), issuers: z.array(z.string()).nullable() }))
const state = z.enum(['active', 'suspended', 'deleting'])
const MAX_AUDIT_PAGE = 1_000

/** All tenants of a deployment: who they are, their settings and encrypted secrets, and what no two of them may share. It wires storage, decisions and RPC. */
export class Directory extends DurableObject<Environment> implements DirectoryRpc {
  readonly #store: DirectoryStore

  constructor(ctx: DurableObjectState, env: Environment) {
    super(ctx, env)
    objectName(ctx)
    this.#store = new DirectoryStore(durableDatabase(ctx.storage))
  }

  async names(request: Versioned & { revision?: number }): Promise<NamesAnswer> {
    checkVersion(request)
    const { revision } = this.#store
    return { revision, tenants: request.revision === revision ? null : [...this.#store.named.values()] }
  }

  async record(request: Versioned & { name: string; version?: number }): Promise<RecordAnswer> {
    checkVersion(request)
    const named = this.#store.named.get(request.name)
    if (!named) return { kind: 'none' }
    if (named.version === request.version) return { kind: 'same' }
    const found = this.#store.find(request.name)
    return found ? { kind: 'record', record: JSON.stringify(found.record), sealed: found.sealed } : { kind: 'none' }
  }

  async put(request: PutRequest): Promise<{ record: string; created: boolean }> {
    checkVersion(request)
    const change = tenantChange.parse(JSON.parse(request.change))
    const asked = { ...request, change, identities: identities.parse(JSON.parse(request.identities)) }
    const { record, created } = put(this.#store, this.#ring, asked, new Date())
    return { record: JSON.stringify(record), created }
  }

  async setState(request: Versioned & { name: string; state: string; ifMatch: number | null; by: string }): Promise<{ record: string }> {
    checkVersion(request)
    return { record: JSON.stringify(setState(this.#store, { ...request, state: state.parse(request.state) }, new Date())) }
  }

  async bury(request: Versioned & { name: string; by: string }): Promise<void> {
    checkVersion(request)
    bury(this.#store, request, new Date())
  }

  async rekey(request: Versioned & { after: string; by: string }): Promise<{ rekeyed: number; next: string | null }> {
    checkVersion(request)
    if (request.after === '') this.#store.note({ at: new Date().toISOString(), by: request.by, action: 'rekey', tenant: '' })
    return rekey(this.#store, this.#ring, request.after)
  }

  async audit(request: Versioned & { before?: number; limit: number }): Promise<AuditEntry[]> {
    checkVersion(request)
    return this.#store.audit(request.before ?? Number.MAX_SAFE_INTEGER, Math.min(request.limit, MAX_AUDIT_PAGE))
  }

  /** Throws ROCKPOOL_SETTINGS. */
  get #ring(): KeyRing {
    const { TENANT_KEYS } = this.env
    if (typeof TENANT_KEYS === 'string' && TENANT_KEYS !== '') return keyRing(TENANT_KEYS)
    throw new RockpoolError('ROCKPOOL_SETTINGS', 'settings are missing or wrong: TENANT_KEYS: is not set')
  }
}
