import { RockpoolError } from '../../protocol/errors.ts'
import type { SourceKind } from '../../sources/source.ts'
import type { OwnTenant } from '../../tenants/of-object.ts'
import type { ReplicationSettings } from '../../tenants/replication.ts'
import { answered, Unanswered } from '../shared/retry.ts'
import type { CurrentSession } from './current-session.ts'
import { keptIdentity } from './session/kept-state.ts'
import { clientName } from './session/prepare.ts'
import type { SourceAccess } from './session/source-access.ts'
import type { Store } from './store/store.ts'

/** How long the connection of a single question may take to close. */
const CLOSE_MS = 1_000

export interface SourceConnectionsPorts {
  store: Pick<Store, 'state'>
  current: Pick<CurrentSession, 'source'>
  tenant(): OwnTenant
  kindOf(url: string): SourceKind<ReplicationSettings>
  /** Returns the deadline of one call, in ms. */
  callMs(): number
}

/** Connections to the source for single questions, with a session or without. */
export class SourceConnections {
  readonly #ports: SourceConnectionsPorts

  constructor(ports: SourceConnectionsPorts) {
    this.#ports = ports
  }

  /**
   * Asks over the session's connection, or over one of its own. Whatever is asked may be asked twice, when the session
   * ends meanwhile. Throws ROCKPOOL_SOURCE_UNREACHABLE, also when there is no answer within `deadlineMs`, and
   * ROCKPOOL_SETTINGS.
   */
  async ask<T>(question: (access: SourceAccess) => Promise<T>, deadlineMs = this.#ports.callMs()): Promise<T> {
    const { store, current, tenant, kindOf, callMs } = this.#ports
    const call = () => ({ signal: new AbortController().signal, deadlineMs: Math.max(deadlineMs, callMs()) })
    const url = await tenant().secret('source.url')
    const kind = kindOf(url)
    const open = current.source
    if (open) {
      try {
        return await inTime(() => question({ kind, source: open, call }), deadlineMs)
      } catch (error) {
        if (current.source === open) throw error
        // The session has ended meanwhile, and its connection with it.
      }
    }
    const { replication: settings } = await tenant().find('whatever')
    const source = kind.connect({ url, settings, clientName: clientName(store), identity: keptIdentity(kind, store) })
    try {
      return await inTime(() => question({ kind, source, call }), deadlineMs)
    } finally {
      await source.close(CLOSE_MS)
    }
  }
}

/** Limits how long a caller waits for a source that does not answer any more. The session does not end by that. */
async function inTime<T>(question: () => Promise<T>, deadlineMs: number): Promise<T> {
  try {
    return await answered(question, deadlineMs)
  } catch (error) {
    if (!(error instanceof Unanswered)) throw error
    throw new RockpoolError('ROCKPOOL_SOURCE_UNREACHABLE', `Postgres did not answer for ${deadlineMs / 1_000} s`, {
      cause: error,
    })
  }
}
