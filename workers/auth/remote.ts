import { RockpoolError } from '../../protocol/errors.ts'
import { readKey, type TokenPolicy, type VerificationKey } from './jwk.ts'

/** Older keys are fetched again in the background; they go on serving. */
const FRESH_MS = 5 * 60_000
/** Older keys serve no more: whoever revoked a key must be sure that it is forgotten at some time. */
const EXPIRED_MS = 60 * 60_000
/** Between the beginnings of two fetches, whatever the reason for them: tokens with invented key ids must not become fetches. */
const COOLDOWN_MS = 6_000
const FETCH_TIMEOUT_MS = 10_000
/** What a token with an unknown key waits for a fetch. */
const UNKNOWN_KEY_WAIT_MS = 3_000
const MAX_BYTES = 512 * 1024
/** A token without `kid` is tried with every key that has none. */
const MAX_KEYS = 100

/** Takes a promise that must be kept although the request that began it is over. */
export type Background = (work: Promise<unknown>) => void

export interface RemoteKeyOptions {
  fetch: (url: string, init: { headers: Record<string, string>; redirect: 'manual'; signal: AbortSignal }) => Promise<Response>
  /** Milliseconds. */
  now: () => number
  fetchTimeoutMs: number
  unknownKeyWaitMs: number
}

const usual: RemoteKeyOptions = {
  fetch: (url, init) => fetch(url, init),
  now: () => Date.now(),
  fetchTimeoutMs: FETCH_TIMEOUT_MS,
  unknownKeyWaitMs: UNKNOWN_KEY_WAIT_MS,
}

/**
 * A key set that is fetched, kept per isolate. One fetch at a time for all requests. `createRemoteJWKSet` of jose would let each request of a
 * Worker fetch for itself, and stop verifying as soon as its keys are older than their freshness while the identity provider is down.
 */
export class RemoteKeys {
  readonly #url: URL
  readonly #policy: TokenPolicy
  readonly #options: RemoteKeyOptions
  #keys: VerificationKey[] | null = null
  #loadedAt = 0
  #startedAt = Number.NEGATIVE_INFINITY
  #pending: Promise<void> | null = null
  #problem = 'did not answer in time'

  constructor(url: URL, policy: TokenPolicy, options: Partial<RemoteKeyOptions> = {}) {
    this.#url = url
    this.#policy = policy
    this.#options = { ...usual, ...options }
  }

  /** The keys, fetched when there are none that may serve. Throws PSYNC_S2204. */
  async keys(background: Background): Promise<readonly VerificationKey[]> {
    const age = this.#age()
    if (age >= EXPIRED_MS) await this.#fetched(background, this.#options.fetchTimeoutMs)
    else if (age >= FRESH_MS) void this.#begin(background)
    if (this.#keys !== null && this.#age() < EXPIRED_MS) return this.#keys
    throw new RockpoolError('PSYNC_S2204', `the key set ${this.#url.origin}${this.#url.pathname} ${this.#problem}`)
  }

  /** After a key was not found. True: newer keys than before may be there now. */
  async refresh(background: Background): Promise<boolean> {
    const before = this.#keys
    await this.#fetched(background, this.#options.unknownKeyWaitMs)
    return this.#keys !== before
  }

  #age(): number {
    return this.#keys === null ? Number.POSITIVE_INFINITY : this.#options.now() - this.#loadedAt
  }

  /** Waits for the fetch under way, or for one that may begin now, but not for ever: the request that began it may have been cut off. */
  async #fetched(background: Background, milliseconds: number): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined
    const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, milliseconds)))
    await Promise.race([this.#begin(background), late])
    clearTimeout(timer)
  }

  #begin(background: Background): Promise<void> {
    const since = this.#options.now() - this.#startedAt
    if (this.#pending && since < this.#options.fetchTimeoutMs + 1_000) return this.#pending
    if (since < COOLDOWN_MS) return Promise.resolve()
    this.#startedAt = this.#options.now()
    const pending = this.#load().finally(() => {
      if (this.#pending === pending) this.#pending = null
    })
    this.#pending = pending
    background(pending)
    return pending
  }

  async #load(): Promise<void> {
    const started = this.#startedAt
    const outcome = await this.#request().catch((error: unknown) => reason(error))
    // A fetch that was given up and came after all must not undo a later one.
    if (started !== this.#startedAt) return
    if (typeof outcome === 'string') {
      this.#problem = outcome
      return
    }
    this.#keys = outcome
    this.#loadedAt = this.#options.now()
  }

  /** The usable keys; a text says what was wrong. */
  async #request(): Promise<VerificationKey[] | string> {
    const signal = AbortSignal.timeout(this.#options.fetchTimeoutMs)
    // A redirect could lead anywhere, also where the address was checked not to be.
    const response = await this.#options.fetch(this.#url.href, {
      headers: { accept: 'application/json, application/jwk-set+json' },
      redirect: 'manual',
      signal,
    })
    if (response.status !== 200) {
      await response.body?.cancel()
      return `answered with status ${response.status}`
    }
    const text = await textOf(response)
    if (text === null) return `is larger than ${MAX_BYTES} bytes`
    const set: unknown = JSON.parse(text)
    const given = typeof set === 'object' && set !== null && 'keys' in set ? set.keys : null
    if (!Array.isArray(given)) return 'is not a JSON Web Key Set: it has no list "keys"'
    // Providers list keys for other purposes as well, or none yet.
    const keys = given.map((each: unknown) => readKey(each, this.#policy, { secrets: false })).filter((key) => typeof key !== 'string')
    return keys.length > MAX_KEYS ? `has more than ${MAX_KEYS} keys` : keys
  }
}

/** Null when it is too large. Counted while it is read: the length may be missing or wrong. */
async function textOf(response: Response): Promise<string | null> {
  const decoder = new TextDecoder()
  let text = ''
  let bytes = 0
  const reader = response.body?.getReader()
  for (let part = await reader?.read(); part && !part.done; part = await reader?.read()) {
    bytes += part.value.byteLength
    if (bytes > MAX_BYTES) {
      await reader?.cancel()
      return null
    }
    text += decoder.decode(part.value, { stream: true })
  }
  return text + decoder.decode()
}

function reason(error: unknown): string {
  if (error instanceof SyntaxError) return 'is not JSON'
  if (error instanceof Error && error.name === 'TimeoutError') return 'did not answer in time'
  return 'cannot be reached'
}
