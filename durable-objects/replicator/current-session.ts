import type { SourceConnection } from '../../sources/source.ts'
import type { Session } from './session/session.ts'
import type { SessionStatus } from './session/session-parts.ts'

/** The session that is under way, for those who use its connection or ask what it does. `Sessions` sets it. */
export class CurrentSession {
  session: Session | null = null

  /** Its connection; null when no session has one. */
  get source(): SourceConnection | null {
    return this.session?.source ?? null
  }

  get waitingFor(): string | null {
    return this.status()?.waitingFor ?? null
  }

  status(): SessionStatus | null {
    return this.session?.status() ?? null
  }
}
