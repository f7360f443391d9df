import { RockpoolError } from '../../../protocol/errors.ts'
import { MAX_BODY_BYTES } from '../limits.ts'
import { Flag, type Frame, type Payload } from './frames.ts'

/** Puts the fragments of a request together. */
export class Assembly {
  readonly initialN: number
  readonly #metadata: Uint8Array[] = []
  readonly #data: Uint8Array[] = []
  #hasMetadata = false
  #length = 0

  constructor(initialN: number) {
    this.initialN = initialN
  }

  /** The whole payload, or null when more follows. Throws PSYNC_S2001 when it becomes too large. */
  add(fragment: Payload & Pick<Frame, 'flags'>): Payload | null {
    this.#length += fragment.data.length + (fragment.metadata?.length ?? 0)
    if (this.#length > MAX_BODY_BYTES) throw new RockpoolError('PSYNC_S2001', `a request is larger than ${MAX_BODY_BYTES} bytes`)
    if (fragment.metadata) {
      this.#hasMetadata = true
      this.#metadata.push(fragment.metadata)
    }
    this.#data.push(fragment.data)
    if (fragment.flags & Flag.FOLLOWS) return null
    return { metadata: this.#hasMetadata ? join(this.#metadata) : null, data: join(this.#data) }
  }
}

const join = (parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts))
