// The bench calls these functions in a page, whichever client the page has. Times are in milliseconds.

export interface Client {
  connect(): Promise<void>
  query(sql: string, params: unknown[]): Promise<Record<string, unknown>[]>
  /** Calls back with the rows now and after each change of them. */
  follow(sql: string, params: unknown[], told: (rows: readonly Record<string, unknown>[]) => void): void
  write(sql: string, params: unknown[]): Promise<void>
}

declare global {
  interface Window {
    web: WebBench
    /** When the page of this navigation had its first rows; null: not yet. */
    firstRows: number | null
  }
}

const now = (): number => performance.timeOrigin + performance.now()
const LIST = 'SELECT * FROM items WHERE title = ? ORDER BY id'

export class WebBench {
  readonly #client: Client
  readonly #marks = new Map<string, number>()
  #longestPause = 0

  constructor(client: Client) {
    this.#client = client
  }

  /** Answers when so many rows are shown, by the clock of the machine. */
  async reaches(rows: number, connect: boolean): Promise<{ from: number; at: number }> {
    const done = new Promise<number>((resolve) =>
      this.#client.follow('SELECT count(*) AS n FROM items', [], ([row]) => {
        if (Number(row?.n) >= rows) resolve(now())
      }),
    )
    const from = now()
    if (connect) await this.#client.connect()
    return { from, at: await done }
  }

  /** Follows so many lists of all rows with a title. */
  async lists(count: number): Promise<void> {
    const shown = Array.from({ length: count }, (_, n) => this.#shown(LIST, [`list ${n}`]))
    await Promise.all(shown)
  }

  /** A hundred queries, of which 20 read what is written. */
  async mix(): Promise<void> {
    const shown: Promise<void>[] = []
    for (let n = 0; n < 15; n++)
      shown.push(
        this.#shown(`SELECT * FROM items WHERE title = ? AND id < ? ${n % 2 ? 'ORDER BY id LIMIT 50' : ''}`, [
          `list ${n}`,
          '1500',
        ]),
      )
    for (let n = 0; n < 5; n++)
      shown.push(this.#shown('SELECT count(*) AS n FROM items WHERE title = ?', [`list ${n}`]))
    for (let n = 0; n < 80; n++) shown.push(this.#shown('SELECT * FROM notes WHERE id = ?', [`${n}`]))
    await Promise.all(shown)
  }

  /** Tells when a row with a body is on the screen of this tab. */
  async watch(title: string): Promise<void> {
    await this.#shown(LIST, [title], (rows) => {
      const bodies = new Set(rows.map(({ body }) => String(body)))
      for (const body of bodies) if (!this.#marks.has(body)) this.#marks.set(body, now())
    })
  }

  seen(body: string): number | null {
    return this.#marks.get(body) ?? null
  }

  /** Writes one row of a list. */
  async write(id: string, title: string, body: string): Promise<{ from: number; done: number }> {
    const from = now()
    await this.#client.write('UPDATE items SET title = ?, body = ? WHERE id = ?', [title, body, id])
    return { from, done: now() }
  }

  /** Asks all the time, and remembers the longest pause. */
  ask(): void {
    let last = now()
    const next = async (): Promise<void> => {
      for (;;) {
        await this.#client.query('SELECT id FROM items WHERE id = ?', ['1'])
        this.#longestPause = Math.max(this.#longestPause, now() - last)
        last = now()
      }
    }
    void next()
  }

  resetPause(): void {
    this.#longestPause = 0
  }

  get longestPause(): number {
    return this.#longestPause
  }

  /** Rows of a list, asked for as soon as the page runs. */
  async first(): Promise<void> {
    const rows = await this.#client.query('SELECT * FROM items WHERE title = ? LIMIT 50', ['list 3'])
    if (rows.length > 0) window.firstRows = performance.now()
  }

  /** Resolves with the first rows. */
  #shown(
    sql: string,
    params: unknown[],
    told: (rows: readonly Record<string, unknown>[]) => void = () => {},
  ): Promise<void> {
    return new Promise((resolve) =>
      this.#client.follow(sql, params, (rows) => {
        told(rows)
        resolve()
      }),
    )
  }
}
