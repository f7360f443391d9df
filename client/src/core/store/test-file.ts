import { copyFileSync, existsSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { nodeSqlite } from '../../sqlite/node.ts'
import type { Sqlite } from '../../sqlite/sqlite.ts'

// A database file of the simulation: a power cut takes back everything that was committed since the last flush, which
// is the most that it may.

const FOLDER = existsSync('/dev/shm') ? '/dev/shm' : tmpdir()

export class TestFile {
  readonly #path = join(FOLDER, `rockpool-store-${crypto.randomUUID()}.db`)
  #connection: Sqlite | null = null

  open(): Sqlite {
    const db = new DatabaseSync(this.#path)
    db.exec(
      'PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; PRAGMA temp_store = MEMORY; PRAGMA page_size = 1024',
    )
    this.#connection = nodeSqlite(db)
    return this.#connection
  }

  /** No transaction is open. */
  flush(): void {
    copyFileSync(this.#path, `${this.#path}.flushed`)
  }

  /** The power is lost, and comes back. */
  lost(): Sqlite {
    this.#connection?.close()
    copyFileSync(`${this.#path}.flushed`, this.#path)
    return this.open()
  }

  remove(): void {
    for (const path of [this.#path, `${this.#path}.flushed`]) rmSync(path, { force: true })
  }
}
