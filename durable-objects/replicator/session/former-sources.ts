import type { Call, SourceConnection, SourceKind } from '../../../sources/source.ts'
import type { FormerSource, OwnTenant } from '../../../tenants/of-object.ts'
import type { ReplicationSettings } from '../../../tenants/replication.ts'
import type { Tenant } from '../../../tenants/tenant.ts'
import type { Store } from '../store/store.ts'
import { clientName } from './prepare.ts'

/** How long each former database has to answer, while a session waits. */
const CALL_MS = 5_000
const CLOSE_MS = 1_000
/** After this long it is given up, and somebody has to drop the slot. */
export const GIVE_UP_MS = 24 * 3_600_000

export interface FormerSourcesPorts {
  store: Pick<Store, 'state' | 'diagnostics'>
  tenant(): OwnTenant
  kindOf(url: string): SourceKind<ReplicationSettings>
  now(): number
}

/** What a tenant that was moved has left behind in the databases that it had: its slot, and a publication of ours. */
export class FormerSources {
  readonly #ports: FormerSourcesPorts
  /** The version of the tenant that had none any more. */
  #none: string | null = null

  constructor(ports: FormerSourcesPorts) {
    this.#ports = ports
  }

  /**
   * Called when the database that the tenant has now can be reached, and before anything is made in it: in another
   * database of the same server the slot of before has the name of the new one. Never rejects: what cannot be reached
   * is reported, and tried again with the next session.
   */
  async leave(tenant: Pick<Tenant, 'version'>, current: SourceConnection): Promise<void> {
    if (this.#none === tenant.version) return
    try {
      const former = await this.#ports.tenant().former()
      const left = await Promise.all(former.map((each) => this.#left(each, current)))
      if (left.every(Boolean)) this.#none = tenant.version
    } catch (error) {
      console.warn('the former databases of the tenant are not known', error)
    }
  }

  /** Of a tenant that is being deleted. Rejects when one of them cannot be reached. */
  async leaveAll(): Promise<void> {
    for (const former of await this.#ports.tenant().former()) {
      await this.#connected(former, (source) => source.leave(call()))
      await this.#ports.tenant().left(former.id)
    }
  }

  /** Returns whether nothing more is to be done there. */
  async #left(former: FormerSource, current: SourceConnection): Promise<boolean> {
    const { store, tenant, now } = this.#ports
    const report = (reason: string) => store.diagnostics.add({ code: 'ROCKPOOL_FORMER_SOURCE', reason })
    const what = `the slot ${former.slot} in ${former.database}, which the tenant had before,`
    try {
      await this.#connected(former, (source) => leaveUnless(source, current, former))
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      if (now() - Date.parse(former.since) < GIVE_UP_MS) {
        report(`${what} could not be dropped, and Postgres keeps WAL for it. It is tried again: ${why}`)
        return false
      }
      report(`${what} was not dropped within a day. Somebody has to: SELECT pg_drop_replication_slot('${former.slot}')`)
    }
    await tenant().left(former.id)
    return true
  }

  async #connected(
    { url, replication }: FormerSource,
    work: (source: SourceConnection) => Promise<void>,
  ): Promise<void> {
    const kind = this.#ports.kindOf(url)
    const options = { url, settings: replication, clientName: clientName(this.#ports.store), identity: null }
    const source = kind.connect(options)
    try {
      await work(source)
    } finally {
      await source.close(CLOSE_MS)
    }
  }
}

/** It may be the same database under another name. Then the publication is in use, and so is the slot of this name. */
async function leaveUnless(source: SourceConnection, current: SourceConnection, former: FormerSource): Promise<void> {
  const [there, here] = await Promise.all([source.identify(call()), current.identify(call())])
  if (JSON.stringify(there) !== JSON.stringify(here)) return source.leave(call())
  if (!former.isCurrentSlot) return source.forget(call())
}

const call = (): Call => ({ signal: new AbortController().signal, deadlineMs: CALL_MS })
