import { ProblemError } from './problem.ts'
import { isSignedOut } from './signed-out.ts'
import { within } from './within.ts'
import type { SyncOptions } from '../types.ts'

/** So long the application may take to answer `auth`. */
export const TOKEN_MS = 30_000
/** A token is replaced so long before its end. Of one that lives shorter, half its life. */
const MARGIN_MS = 30_000

export interface Identity {
  token: string
  /** Whose token it is; null when it cannot be read. */
  subject: string | null
}

/** The claims of a JWT. The signature is the server's affair. */
function claimsOf(token: string): Record<string, unknown> {
  try {
    const bytes = Uint8Array.from(atob(token.split('.')[1]?.replaceAll('-', '+').replaceAll('_', '/') ?? ''), (c) =>
      c.charCodeAt(0),
    )
    const claims: unknown = JSON.parse(new TextDecoder().decode(bytes))
    return typeof claims === 'object' && claims !== null ? { ...claims } : {}
  } catch {
    return {}
  }
}

/** As the server reads it: a subject that is no text counts by its text, booleans as 1 and 0. */
function subjectOf({ sub }: Record<string, unknown>): string | null {
  if (sub === undefined || sub === null || sub === '') return null
  return typeof sub === 'string' ? sub : typeof sub === 'boolean' ? (sub ? '1' : '0') : JSON.stringify(sub)
}

/**
 * Asks the application. Throws ProblemError `signed_out` when it says so, else `network`: what its `auth` fails with
 * mostly passes.
 */
export async function identify({ auth, subject }: Pick<SyncOptions, 'auth' | 'subject'>): Promise<Identity> {
  try {
    const token = await auth()
    const claims = claimsOf(token)
    return { token, subject: subject ? subject(claims) : subjectOf(claims) }
  } catch (cause) {
    if (isSignedOut(cause)) throw new ProblemError('signed_out', cause.message, { cause })
    throw new ProblemError('network', `auth() failed: ${cause instanceof Error ? cause.message : String(cause)}`, {
      cause,
    })
  }
}

/** How long it may be used from now on, by its own clock: the device's may be wrong. */
function lifeOf(token: string): number {
  const { iat, exp } = claimsOf(token)
  if (typeof exp !== 'number') return 0
  const life = (typeof iat === 'number' ? exp - iat : exp - Date.now() / 1_000) * 1_000
  return life - Math.min(MARGIN_MS, life / 2)
}

export interface TokensOptions {
  identify(): Promise<Identity>
  /** Called with whose token it is before anything uses it; throws when it is not for this database. */
  accept(subject: string): Promise<void>
}

/** The application is asked once, whoever needs a token, and again when that one is about to expire or was refused. */
export class Tokens {
  readonly #options: TokensOptions
  #known: { token: string; until: number } | null = null
  #asking: Promise<string> | null = null

  constructor(options: TokensOptions) {
    this.#options = options
  }

  async get(signal?: AbortSignal): Promise<string> {
    if (this.#known && performance.now() < this.#known.until) return this.#known.token
    this.#asking ??= this.#ask().finally(() => (this.#asking = null))
    // Without a limit of its own: the question has one.
    return within(this.#asking, TOKEN_MS * 2, noAnswer, signal)
  }

  /** The server refused it, or says that it expires. */
  forget(): void {
    this.#known = null
  }

  async #ask(): Promise<string> {
    const asked = performance.now()
    const { token, subject } = await within(this.#options.identify(), TOKEN_MS, noAnswer)
    if (subject === null) throw new ProblemError('token', 'what auth() answered is not a JWT with the claim "sub"')
    await this.#options.accept(subject)
    this.#known = { token, until: asked + lifeOf(token) }
    return token
  }
}

const noAnswer = (): ProblemError =>
  new ProblemError('network', `auth() did not answer within ${TOKEN_MS / 1_000} seconds`)
