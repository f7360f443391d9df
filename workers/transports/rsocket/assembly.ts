import { RockpoolError } from '../../../protocol/errors.ts'
import { FRAGMENTS_SECONDS, MAX_BODY_BYTES, MAX_FRAGMENTS } from '../../stream/limits.ts'
import { Flag, type Frame, type Payload } from './frames.ts'

/** Assembles the fragments of a request. */
export class Assembly {
  readonly initialN: number
  readonly #metadata: Uint8Array[] = []
  readonly #data: Uint8Array[] = []
  #hasMetadata = false
  #length = 0
  #fragments = 0
  readonly #timer: ReturnType<typeof setTimeout>

  /** `late` is called when the request is not complete in time. */
  constructor(initialN: number, late: () => void) {
    this.initialN = initialN
    this.#timer = setTimeout(late, FRAGMENTS_SECONDS * 1_000)
  }

  /** Called when the request is complete or not wanted any more. */
  end(): void {
    clearTimeout(this.#timer)
  }

  /**
   * Adds a fragment. Returns the whole payload, or null when more follows. Throws PSYNC_S2001 when it becomes too
   * large; empty fragments count too.
   */
  add(fragment: Payload & Pick<Frame, 'flags'>): Payload | null {
    this.#length += fragment.data.length + (fragment.metadata?.length ?? 0)
    if (++this.#fragments > MAX_FRAGMENTS)
      throw new RockpoolError('PSYNC_S2001', `a request has more than ${MAX_FRAGMENTS} fragments`)
    if (this.#length > MAX_BODY_BYTES)
      throw new RockpoolError('PSYNC_S2001', `a request is larger than ${MAX_BODY_BYTES} bytes`)
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
