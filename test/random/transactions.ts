import { until } from '../support/support.ts'
import type { Random } from '../support/random.ts'
import { transaction } from './changes.ts'
import { Connection } from './connection.ts'

/** At a time, of each kind. */
const MOST = 3

/** Runs statements, and keeps transactions open or prepared for some steps. */
export class Transactions {
  /** Statements that Postgres refused. */
  refused = 0
  readonly #url: () => string
  readonly #note: (line: string) => void
  readonly #opened: { connection: Connection; left: number }[] = []
  readonly #prepared: string[] = []
  #names = 0

  constructor(url: () => string, note: (line: string) => void) {
    this.#url = url
    this.#note = note
  }

  /** On one connection, one after the other; the first that is refused ends them. */
  async run(statements: readonly string[]): Promise<void> {
    await this.#closeOpened(false)
    const connection = await this.#connection()
    await this.#execute(connection, statements)
    await connection.close()
  }

  async leaveOpen(statements: readonly string[], left: number): Promise<void> {
    if (this.#opened.length >= MOST) return this.#closeOpened(true)
    const connection = await this.#connection()
    if (await this.#execute(connection, statements)) this.#opened.push({ connection, left })
    else await connection.close()
  }

  async prepare(r: Random): Promise<void> {
    const name = `p${++this.#names}`
    const finish = r.chance(0.5)
    const work = ['BEGIN', ...transaction(r), `PREPARE TRANSACTION '${name}'`]
    const how = r.chance(0.7) ? 'COMMIT' : 'ROLLBACK'
    if (this.#prepared.length >= MOST) return this.#finishPrepared(how)
    const connection = await this.#connection()
    if (await this.#execute(connection, work)) this.#prepared.push(name)
    await connection.close()
    if (finish) await this.#finishPrepared(how)
  }

  /** Ends whatever is open or prepared. */
  async finish(r: Random): Promise<void> {
    await this.#closeOpened(true)
    while (this.#prepared.length > 0) {
      const before = this.#prepared.length
      await this.#finishPrepared(r.chance(0.7) ? 'COMMIT' : 'ROLLBACK')
      if (this.#prepared.length === before) await new Promise((resolve) => setTimeout(resolve, 100))
    }
  }

  /** What is open is lost, as by a restart of the server. */
  async lose(): Promise<void> {
    for (const { connection } of this.#opened.splice(0)) await connection.close()
  }

  /** False: one was refused, and the transaction is rolled back. */
  async #execute(connection: Connection, statements: readonly string[]): Promise<boolean> {
    try {
      for (const statement of statements) {
        this.#note(statement)
        await connection.run(statement)
      }
      return true
    } catch (error) {
      this.refused++
      this.#note(`  refused: ${error instanceof Error ? error.message : String(error)}`)
      await connection.run('ROLLBACK').catch(() => {})
      return false
    }
  }

  /** Open transactions end after some steps, or all of them now. */
  async #closeOpened(all: boolean): Promise<void> {
    for (const open of [...this.#opened]) {
      if (!all && --open.left > 0) continue
      this.#opened.splice(this.#opened.indexOf(open), 1)
      await this.#execute(open.connection, [open.left % 4 === 3 ? 'ROLLBACK' : 'COMMIT'])
      await open.connection.close()
    }
  }

  async #finishPrepared(how: 'COMMIT' | 'ROLLBACK'): Promise<void> {
    const name = this.#prepared[0]
    if (name === undefined) return
    const connection = await this.#connection()
    if (await this.#execute(connection, [`${how} PREPARED '${name}'`])) this.#prepared.shift()
    await connection.close()
  }

  /** Postgres may be starting. */
  #connection(): Promise<Connection> {
    return until('a connection', () => Connection.open(this.#url()))
  }
}
