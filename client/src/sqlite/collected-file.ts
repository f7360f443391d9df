/** What is needed of a file: a `FileSystemSyncAccessHandle` is one. Offsets and sizes in bytes. */
export interface SyncHandle {
  read(into: Uint8Array, options: { at: number }): number
  write(bytes: Uint8Array, options: { at: number }): number
  truncate(size: number): void
  flush(): void
  getSize(): number
  close(): void
}

/**
 * So much is written at once. Firefox takes 278 µs for a write of a page, and hardly more for one of a megabyte (153,
 * 2026-11-28).
 */
export const COLLECTED_BYTES = 1 << 20

/** A frame of the WAL has a header of 24 bytes, and a checksum of all before it. */
const SPOILED_BYTES = 24

/** Less was written than was asked for: there is no space left. */
export class ShortWrite extends Error {
  override readonly name = 'ShortWrite'
}

/**
 * A file whose contiguous writes are collected. Where the file must hold them (`drain`), an error is told to the caller
 * and what was collected is forgotten: whoever has written it has to take his transaction back.
 */
export class CollectedFile {
  readonly #handle: SyncHandle
  #bytes: Uint8Array | null = null
  #start = 0
  #length = 0
  /** Something has been written since the last flush. */
  unflushed = false

  constructor(handle: SyncHandle) {
    this.#handle = handle
  }

  /** Bytes that the file has on the disk, which may be more than its user has written. */
  get size(): number {
    return this.#handle.getSize()
  }

  get hasCollected(): boolean {
    return this.#length > 0
  }

  overlaps(at: number, length: number): boolean {
    return this.#length > 0 && at < this.#start + this.#length && at + length > this.#start
  }

  /** The caller has drained what overlaps. Answers the number of bytes that were there. */
  read(into: Uint8Array, at: number): number {
    return this.#handle.read(into, { at })
  }

  write(bytes: Uint8Array, at: number): void {
    const offset = at - this.#start
    if (this.#length > 0 && (offset < 0 || offset > this.#length || offset + bytes.length > COLLECTED_BYTES))
      this.drain()
    if (bytes.length > COLLECTED_BYTES) return this.#store(bytes, at)
    if (this.#length === 0) this.#start = at
    this.#bytes ??= new Uint8Array(COLLECTED_BYTES)
    this.#bytes.set(bytes, at - this.#start)
    this.#length = Math.max(this.#length, at - this.#start + bytes.length)
  }

  /** What is collected is in the file afterwards, as far as the operating system holds it. */
  drain(): void {
    if (this.#length === 0 || this.#bytes === null) return
    const collected = this.#bytes.subarray(0, this.#length)
    this.#length = 0
    this.#store(collected, this.#start)
  }

  /**
   * The same for the frames that end a transaction, all of them or none: of a drain that fails something may be in the
   * file, even all of it, and a transaction that was refused must not be found there after a crash. So its first bytes
   * are made wrong. Answers false when that failed too, and nobody knows.
   */
  drainWhole(): { error: unknown; taken: boolean } | null {
    const start = this.#start
    const first = this.#bytes?.slice(0, Math.min(SPOILED_BYTES, this.#length)).map((byte) => byte ^ 0xff)
    try {
      this.drain()
      return null
    } catch (error) {
      return { error, taken: this.#spoil(first ?? new Uint8Array(), start) }
    }
  }

  truncate(size: number): void {
    this.unflushed = true
    this.#handle.truncate(size)
  }

  flush(): void {
    this.#handle.flush()
    this.unflushed = false
  }

  close(): void {
    this.#handle.close()
  }

  #store(bytes: Uint8Array, at: number): void {
    this.unflushed = true
    const written = this.#handle.write(bytes, { at })
    if (written !== bytes.length) throw new ShortWrite(`${written} of ${bytes.length} bytes were written`)
  }

  #spoil(first: Uint8Array, at: number): boolean {
    try {
      // Nothing of it came into the file.
      if (this.#handle.getSize() <= at) return true
      this.#store(first, at)
      return true
    } catch {
      return false
    }
  }
}
