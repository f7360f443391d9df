import { RockpoolError } from '../../protocol/errors.ts'
import { readKey, type TokenPolicy, type VerificationKey } from './jwk.ts'

/** Keys older than this are fetched again in the background, and are used until then. */
const FRESH_MS = 5 * 60_000
/** Keys older than this are not used any more, so that a revoked key is certainly forgotten at some time. */
const EXPIRED_MS = 60 * 60_000
/**
 * The time between the starts of two fetches, whatever their reason: tokens with invented key ids must not cause a
 * fetch each.
 */
const COOLDOWN_MS = 6_000
const FETCH_TIMEOUT_MS = 10_000
/** How long a token with an unknown key waits for a fetch. */
const UNKNOWN_KEY_WAIT_MS = 3_000
const MAX_BYTES = 512 * 1024
/** A limit on the keys, because a token without a `kid` is tried with every key that has none. */
const MAX_KEYS = 100

/** Keeps a promise alive after the request that began it has ended. */
export type Background = (work: Promise<unknown>) => void

export interface RemoteKeyOptions {
  fetch: (
    url: string,
    init: { headers: Record<string, string>; redirect: 'manual'; signal: AbortSignal },
  ) => Promise<Response>
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

/** The usable keys of a key set, or what is wrong with it. */
type FetchOutcome = { kind: 'fetched'; keys: VerificationKey[] } | { kind: 'failed'; reason: string }

const failed = (reason: string): FetchOutcome => ({ kind: 'failed', reason })

/**
 * A fetched key set, kept per isolate. All requests share one fetch at a time. `createRemoteJWKSet` of jose would let
 * each request of a Worker fetch by itself, and would stop verifying while the identity provider is down as soon as its
 * keys are no longer fresh.
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

  /** Returns the keys, and fetches them when there are none that may be used. Throws PSYNC_S2204. */
  async keys(background: Background): Promise<readonly VerificationKey[]> {
    const age = this.#age()
    if (age >= EXPIRED_MS) await this.#fetched(background, this.#options.fetchTimeoutMs)
    else if (age >= FRESH_MS) void this.#begin(background)
    if (this.#keys !== null && this.#age() < EXPIRED_MS) return this.#keys
    throw new RockpoolError('PSYNC_S2204', `the key set ${this.#url.origin}${this.#url.pathname} ${this.#problem}`)
  }

  /** Called after a key was not found. Returns whether there may be newer keys now. */
  async refresh(background: Background): Promise<boolean> {
    const before = this.#keys
    await this.#fetched(background, this.#options.unknownKeyWaitMs)
    return this.#keys !== before
  }

  #age(): number {
    return this.#keys === null ? Number.POSITIVE_INFINITY : this.#options.now() - this.#loadedAt
  }

  /**
   * Waits for the fetch in progress, or for one that may begin now, but only for a limited time: the request that began
   * it may have been cut off.
   */
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
    const outcome = await this.#request().catch((error: unknown): FetchOutcome => failed(reason(error)))
    // The late result of an abandoned fetch must not undo a later one.
    if (started !== this.#startedAt) return
    if (outcome.kind === 'failed') {
      this.#problem = outcome.reason
      return
    }
    this.#keys = outcome.keys
    this.#loadedAt = this.#options.now()
  }

  async #request(): Promise<FetchOutcome> {
    const signal = AbortSignal.timeout(this.#options.fetchTimeoutMs)
    // A redirect could lead to an address that the check has forbidden.
    const response = await this.#options.fetch(this.#url.href, {
      headers: { accept: 'application/json, application/jwk-set+json' },
      redirect: 'manual',
      signal,
    })
    if (response.status !== 200) {
      await response.body?.cancel()
      return failed(`answered with status ${response.status}`)
    }
    const text = await textOf(response)
    if (text === null) return failed(`is larger than ${MAX_BYTES} bytes`)
    const set: unknown = JSON.parse(text)
    const given = typeof set === 'object' && set !== null && 'keys' in set ? set.keys : null
    if (!Array.isArray(given)) return failed('is not a JSON Web Key Set: it has no list "keys"')
    // Providers also list keys for other purposes, or list none yet.
    const keys = given.flatMap((each: unknown) => {
      const outcome = readKey(each, this.#policy, { secrets: false })
      return outcome.kind === 'usable' ? [outcome.key] : []
    })
    return keys.length > MAX_KEYS ? failed(`has more than ${MAX_KEYS} keys`) : { kind: 'fetched', keys }
  }
}

/**
 * Returns the body, or null when it is too large. It counts while reading, because the length header may be missing or
 * wrong.
 */
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
