import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import { z } from 'zod'
import { jsonOrNull } from '../../../protocol/json.ts'
import type { State, StateStore } from '../store/storage.ts'

const shape = z.object({ mark: z.string() })

/** The content of a message by which a session finds a place in the stream again. */
export const markText = (mark: string): string => JSON.stringify({ mark })

/** What `markText` was given; null for messages of other kinds. */
export function parseMark(content: string): string | null {
  return shape.safeParse(jsonOrNull(content)).data?.mark ?? null
}

const KEY_BYTES = 32
/** A field at the end: an earlier version reads the message as it did. */
const SIGNED = /^(\{.*),"hmac":"([\w-]{43})"\}$/s

/**
 * Marks may be written by others as well: in Postgres by every role of the database. Ours carry an HMAC with a key of
 * this storage.
 */
export class Marks {
  readonly #state: StateStore

  constructor(state: StateStore) {
    this.#state = state
  }

  /** `content`: a JSON object with at least one field. */
  sign(content: string): string {
    return `${content.slice(0, -1)},"hmac":"${this.#hmac(content).toString('base64url')}"}`
  }

  /** The content as it was signed; null: it is nobody's. */
  open(text: string): { content: string; earlier: boolean } | null {
    const [, head, hmac] = SIGNED.exec(text) ?? []
    const { earlier } = this.#key()
    if (head === undefined || hmac === undefined) return earlier ? { content: text, earlier } : null
    const content = `${head}}`
    if (!timingSafeEqual(this.#hmac(content), Buffer.from(hmac, 'base64url'))) return null
    if (earlier) this.#state.set('markerKey', { ...this.#key(), earlier: false })
    return { content, earlier: false }
  }

  #hmac(content: string): Buffer {
    return createHmac('sha256', Buffer.from(this.#key().key, 'base64url')).update(content).digest()
  }

  #key(): NonNullable<State['markerKey']> {
    const known = this.#state.get('markerKey')
    if (known) return known
    const made = { key: randomBytes(KEY_BYTES).toString('base64url'), earlier: this.#state.get('source') !== null }
    this.#state.set('markerKey', made)
    return made
  }
}
