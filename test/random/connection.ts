import postgres, { type Sql } from 'postgres'

/**
 * One connection. When it falls every further statement is refused: half of a transaction must not go on in another
 * one.
 */
export class Connection {
  readonly #sql: Sql
  #fallen = false

  private constructor(url: string) {
    this.#sql = postgres(url, {
      max: 1,
      onnotice: () => {},
      max_lifetime: null,
      connect_timeout: 5,
      onclose: () => (this.#fallen = true),
    })
  }

  static async open(url: string): Promise<Connection> {
    const connection = new Connection(url)
    try {
      await connection.run(`SET lock_timeout = '300ms'`)
      return connection
    } catch (error) {
      await connection.close()
      throw error
    }
  }

  async run(statement: string): Promise<void> {
    if (this.#fallen) throw new Error('the connection has fallen')
    await this.#sql.unsafe(statement)
  }

  async close(): Promise<void> {
    await this.#sql.end({ timeout: 1 })
  }
}
