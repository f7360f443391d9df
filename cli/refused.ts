import type { ErrorBody } from '../protocol/errors.ts'
import type { Finding } from '../sync-config/types.ts'
import { printable } from './frame.ts'

const UNAUTHORIZED = 401

/** An error that the server answered: its code, its message, and the findings of a sync config with mistakes. */
export class Refused extends Error {
  override readonly name = 'Refused'
  readonly code: string
  readonly status: number
  readonly findings: Finding[]
  readonly #signedWith: string | null

  /** `signedWith` is the secret with which our own token was signed, or null when the token was given. */
  constructor({ code, description, status, details }: ErrorBody, signedWith: string | null = null) {
    super(description)
    this.code = code
    this.status = status
    this.#signedWith = signedWith
    this.findings = code === 'ROCKPOOL_SYNC_CONFIG' && Array.isArray(details) ? details.filter(isFinding) : []
  }

  /**
   * Returns text that is safe for a terminal: any server may be at that address, and the text contains names from rows.
   */
  get text(): string {
    const text = printable(`${this.code}: ${this.message}`)
    if (this.code === 'ROCKPOOL_PERMISSION')
      return `${text}\nTake a key that has it, or list it among the "permissions" of this one in OPERATOR_KEYS: docs/auth.md`
    if (this.status !== UNAUTHORIZED) return text
    const signed =
      this.#signedWith === null
        ? ''
        : `\nIt was signed with ${this.#signedWith}, which must be the secret of the Rockpool there: when JWT_SECRET is set where that was started, set it here, too`
    return `the token was refused: ${text}${signed}`
  }

  /** Returns what a command prints of it: with `json` the error itself, else `text`. */
  output(json: boolean, text = this.text): string {
    const { code, message, status } = this
    return json ? `${JSON.stringify({ ok: false, error: { code, message, status } }, null, 2)}\n` : `${text}\n`
  }
}

const isFinding = (value: unknown): value is Finding =>
  typeof value === 'object' && value !== null && 'message' in value && 'place' in value && 'level' in value
