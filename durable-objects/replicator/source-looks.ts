import { RockpoolError } from '../../protocol/errors.ts'
import type { SourceLook } from '../../protocol/messages/status.ts'
import type { SourceFacts } from '../../sources/source.ts'
import type { CurrentSession } from './current-session.ts'
import { knownError } from './known-error.ts'
import { keptIdentity, streamedTo } from './session/kept-state.ts'
import type { SourceAccess } from './session/source-access.ts'
import { isSettled, lookOf, oneAtATime, type KnownOfSource } from './session/source-look.ts'
import type { SourceConnections } from './source-connections.ts'
import type { Store } from './store/store.ts'

/** How long an operator's question waits for the database. */
export const LOOK_MS = 5_000
/** How long an answer is given to others who ask: many questions are one connection then. */
export const LOOK_FRESH_MS = 2_000

/** What an examination of the source has found. */
export interface Looked {
  look: SourceLook
  /** Null when the source was not reached. */
  facts: SourceFacts | null
  /** The number of open streams of clients. */
  streams: number
}

export interface SourceLooksPorts {
  store: Store
  current: Pick<CurrentSession, 'session'>
  connections: Pick<SourceConnections, 'ask'>
  openStreams(deadlineMs: number): Promise<number>
}

/** Examines the source when an operator asks for it. Nothing is woken or armed by that. */
export class SourceLooks {
  readonly #ports: SourceLooksPorts
  #last: Looked | null = null

  constructor(ports: SourceLooksPorts) {
    this.#ports = ports
  }

  /** What was found last; null when nobody has asked since the object started. */
  get last(): Looked | null {
    return this.#last
  }

  async run(): Promise<void> {
    this.#last = await this.#examine()
  }

  readonly #examine = oneAtATime(async (): Promise<Looked> => {
    const began = Date.now()
    const before = this.#known()
    const [facts, streams] = await Promise.all([this.#ask(before), this.#ports.openStreams(LOOK_MS)])
    const look = lookOf({ ...facts, began, ended: Date.now() })
    return { look, facts: facts.facts instanceof RockpoolError ? null : facts.facts, streams }
  }, LOOK_FRESH_MS)

  async #ask(before: KnownOfSource) {
    const { store, connections } = this.#ports
    const question = async ({ kind, source, call }: SourceAccess) => ({ kind, facts: await source.look(call()) })
    try {
      const { kind, facts } = await connections.ask(question, LOOK_MS)
      const problem = facts.problem(
        keptIdentity(kind, store),
        streamedTo(kind, store),
        isSettled(before, this.#known()),
      )
      return { facts, problem }
    } catch (error) {
      return { facts: knownError(error), problem: null }
    }
  }

  #known(): KnownOfSource {
    const { store, current } = this.#ports
    return { position: store.state.get('decode').position, session: current.session !== null }
  }
}
