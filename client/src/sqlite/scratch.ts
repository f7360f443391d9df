import type { Sqlite3Static, WasmPointer } from '@sqlite.org/sqlite-wasm'

/** A place in the module's memory for the texts of one call. */
export class Scratch {
  readonly #wasm: Sqlite3Static['wasm']
  #at: WasmPointer = 0
  #size = 0

  constructor(wasm: Sqlite3Static['wasm']) {
    this.#wasm = wasm
  }

  take(bytes: number): WasmPointer {
    // An empty text has a place too: at no place it would be NULL.
    if (bytes + 1 > this.#size) {
      this.free()
      this.#size = Math.max(4_096, 2 * bytes)
      this.#at = this.#wasm.alloc(this.#size)
    }
    return this.#at
  }

  free(): void {
    if (this.#at !== 0) this.#wasm.dealloc(this.#at)
    this.#at = 0
    this.#size = 0
  }
}
