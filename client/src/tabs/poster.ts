import type { UploadResponse } from '../core/outbox/answer.ts'

/** Requests that outlive their page may have 64 KB together (Fetch, 2026-11). */
export const KEEPALIVE_BYTES = 60_000

export interface Posted {
  body: string
  token: string
}

/**
 * Posts uploads from the page, because a request of the page may outlive it, and one of a worker does not. It has one
 * under way at a time.
 */
export class Poster {
  readonly #send: (posted: Posted, keepalive: boolean) => Promise<UploadResponse>
  #underWay: { body: string; answer: Promise<UploadResponse> } | null = null
  /** The newest request, as long as it may not be decided. */
  #undecided: Posted | null = null

  constructor(send: (posted: Posted, keepalive: boolean) => Promise<UploadResponse>) {
    this.#send = send
  }

  async post(posted: Posted): Promise<UploadResponse> {
    const { body } = posted
    if (this.#underWay?.body === body) return this.#underWay.answer
    while (this.#underWay) await this.#underWay.answer.catch(() => {})
    return this.#begin(posted)
  }

  /** The page may be about to end: what was not decided goes once more. A repeat changes nothing at the backend. */
  lastChance(): void {
    const posted = this.#undecided
    if (posted === null || this.#underWay !== null || bytesOf(posted.body) > KEEPALIVE_BYTES) return
    this.#begin(posted).catch(() => {})
  }

  /** Whoever owns the queue now sends it. */
  clear(): void {
    this.#undecided = null
  }

  #begin(posted: Posted): Promise<UploadResponse> {
    this.#undecided = posted
    const answer = this.#send(posted, bytesOf(posted.body) <= KEEPALIVE_BYTES)
    const ended = answer
      .then((response) => {
        if (response.status === 200) this.#undecided = null
        return response
      })
      .finally(() => (this.#underWay = null))
    this.#underWay = { body: posted.body, answer: ended }
    return ended
  }
}

const bytesOf = (text: string): number => new TextEncoder().encode(text).length
