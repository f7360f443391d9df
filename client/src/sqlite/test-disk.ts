import type { SyncHandle } from './collected-file.ts'
import type { FileKind, Handles } from './database-files.ts'

// A disk for tests: it refuses a call, runs out of space, and loses its power.

const SECTOR_BYTES = 4_096

/**
 * How one call is refused. `late`: everything was done before it throws. `twice`: that, and the call after it too.
 * `dead`: every call after it.
 */
export type Refusal = 'io' | 'short' | 'quota' | 'late' | 'twice' | 'dead'
export type CallKind = 'write' | 'truncate' | 'flush'

interface Change {
  /** Null: the file was cut or made longer. */
  bytes: Uint8Array | null
  at: number
}

class TestFile {
  #room = new Uint8Array()
  size = 0
  /** What is on the disk, where power is lost. */
  safe = new Uint8Array()
  /** What has happened since. */
  changes: Change[] = []

  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#room.subarray(0, this.size)
  }

  resize(size: number): void {
    if (size > this.#room.length) {
      const more = new Uint8Array(size * 2)
      more.set(this.bytes)
      this.#room = more
    }
    if (size < this.size) this.#room.fill(0, size, this.size)
    this.size = size
  }

  store(bytes: Uint8Array, at: number): void {
    if (this.size < at + bytes.length) this.resize(at + bytes.length)
    this.#room.set(bytes, at)
  }
}

const isLate = (how: Refusal | null): boolean => how === 'late' || how === 'twice'

const KINDS: readonly FileKind[] = ['database', 'wal', 'journal']

export class TestDisk {
  readonly #files: Record<FileKind, TestFile> = {
    database: new TestFile(),
    wal: new TestFile(),
    journal: new TestFile(),
  }
  /** Power may be lost: what is flushed is kept apart. */
  readonly #cuts: boolean
  /** Bytes of all files. */
  quota = Infinity
  calls: Record<CallKind, number> = { write: 0, truncate: 0, flush: 0 }
  /** The call of this number, counted over all kinds, is refused. */
  refuse: { call: number; how: Refusal } | null = null
  refused: CallKind | null = null

  constructor(cuts = false) {
    this.#cuts = cuts
  }

  get called(): number {
    return this.calls.write + this.calls.truncate + this.calls.flush
  }

  get size(): number {
    return KINDS.reduce((sum, kind) => sum + this.#files[kind].size, 0)
  }

  handles(): Handles {
    return { database: this.#handle('database'), wal: this.#handle('wal'), journal: this.#handle('journal') }
  }

  /** As it is after the end of the worker. */
  killed(): TestDisk {
    const disk = new TestDisk()
    for (const kind of KINDS) disk.#files[kind].store(this.#files[kind].bytes, 0)
    return disk
  }

  /** As it may be after a power cut: of what was not flushed each sector may be there or not. */
  cut(random: () => number): TestDisk {
    const disk = new TestDisk()
    const kept = random()
    for (const kind of KINDS) {
      const { safe, changes } = this.#files[kind]
      const file = disk.#files[kind]
      file.store(safe, 0)
      for (const { bytes, at } of changes) {
        if (bytes === null) {
          if (random() < kept) file.resize(at)
          continue
        }
        for (let from = 0; from < bytes.length;) {
          const to = Math.min(bytes.length, from + SECTOR_BYTES - ((at + from) % SECTOR_BYTES))
          if (random() < kept) file.store(bytes.subarray(from, to), at + from)
          from = to
        }
      }
    }
    return disk
  }

  #handle(kind: FileKind): SyncHandle {
    const file = this.#files[kind]
    const store = (bytes: Uint8Array, at: number): void => {
      file.store(bytes, at)
      if (this.#cuts) file.changes.push({ bytes: bytes.slice(), at })
    }
    const fits = (size: number): boolean => this.size - file.size + Math.max(size, file.size) <= this.quota
    return {
      read: (into, { at }) => {
        const found = file.bytes.subarray(at, at + into.length)
        into.set(found)
        return found.length
      },
      write: (bytes, { at }) => {
        const half = bytes.length >> 1
        const how = this.#count('write')
        if (how === 'short') {
          store(bytes.subarray(0, half), at)
          return half
        }
        // What a refused write has done before it was refused is anybody's guess.
        if (how === 'io' || how === 'dead') store(bytes.subarray(0, half), at)
        if (isLate(how)) store(bytes, at)
        if (how !== null) throw failure(how)
        if (!fits(at + bytes.length)) throw failure('quota')
        store(bytes, at)
        return bytes.length
      },
      truncate: (size) => {
        const how = this.#count('truncate')
        if (how !== null && !isLate(how)) throw failure(how)
        if (!fits(size)) throw failure('quota')
        file.resize(size)
        if (this.#cuts) file.changes.push({ bytes: null, at: size })
        if (how !== null) throw failure(how)
      },
      flush: () => {
        const how = this.#count('flush')
        if (how !== null && !isLate(how)) throw failure(how)
        if (this.#cuts) file.safe = file.bytes.slice()
        file.changes = []
        if (how !== null) throw failure(how)
      },
      getSize: () => file.size,
      close: () => {},
    }
  }

  #count(kind: CallKind): Refusal | null {
    const number = this.called
    this.calls[kind]++
    if (this.refuse === null || number < this.refuse.call) return null
    const { how } = this.refuse
    if (number > this.refuse.call)
      return how === 'dead' || (how === 'twice' && number === this.refuse.call + 1) ? 'quota' : null
    this.refused = kind
    return how
  }
}

function failure(how: Refusal): Error {
  return Object.assign(new Error(`refused: ${how}`), { name: how === 'quota' ? 'QuotaExceededError' : 'UnknownError' })
}
