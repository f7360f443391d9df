/** Where bytes of one client can lie: written for it and not taken by it yet, waiting from the relay, ops kept for its next line. */
export type HeldPart = 'transport' | 'upstream' | 'tails'

const open = new Set<Held>()
let peak = 0

/** Counts what one stream holds for its client in memory, in bytes. This is what back-pressure keeps small. */
export class Held {
  readonly #parts: Record<HeldPart, number> = { transport: 0, upstream: 0, tails: 0 }

  constructor() {
    open.add(this)
  }

  get bytes(): number {
    return this.#parts.transport + this.#parts.upstream + this.#parts.tails
  }

  set(part: HeldPart, bytes: number): void {
    this.#parts[part] = bytes
    peak = Math.max(peak, this.bytes)
  }

  /** The stream is over. */
  close(): void {
    open.delete(this)
  }
}

/** Of this isolate: open streams, bytes held for all of them, and the most that was ever held for one. */
export function heldStatus(): { open: number; heldBytes: number; peakHeldBytes: number } {
  let heldBytes = 0
  for (const held of open) heldBytes += held.bytes
  return { open: open.size, heldBytes, peakHeldBytes: peak }
}
