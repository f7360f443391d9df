import { createRockpool, type BrowserRockpoolOptions } from '../../client/src/api/browser.ts'
import type { Rockpool } from '../../client/src/api/rockpool.ts'
import { sql } from '../../client/src/api/sql.ts'
import { SignedOut } from '../../client/src/core/signed-out.ts'
import { boolean, defineSchema, table, text } from '../../client/src/schema.ts'

// Runs in the browser: a page of an application with `createRockpool`, which a test calls.

const schema = defineSchema({ notes: table({ body: text().nullable(), done: boolean().default(false) }) })
type Options = {
  [K in keyof BrowserRockpoolOptions<typeof schema>]?: BrowserRockpoolOptions<typeof schema>[K] | undefined
}

export interface RockpoolPage {
  db: Rockpool<typeof schema>
  open(options?: Options): Promise<void>
  /** Codes of what was thrown, `ok` for what was not. */
  attempt(work: () => Promise<unknown>): Promise<string>
  all(statement: string): Promise<unknown[]>
  /** Inserts a row by one message. */
  insert(id: string): Promise<string>
  /** Follows the bodies of all notes; they are in `shown`. */
  follow(): void
  shown: string[]
  /** Writes a row, waits for `release`, and writes another one. */
  slowly(id: string): Promise<string>
  release(): void
  held: boolean
  events: string[]
}

declare global {
  interface Window {
    rockpool: RockpoolPage
  }
}

let release: () => void = () => {}

window.rockpool = {
  db: undefined as never,
  shown: [],
  held: false,
  events: [],
  async open(options = {}) {
    const all = {
      schema,
      name: 'notes',
      url: location.origin,
      upload: '/upload',
      user: 'alice',
      worker: '/rockpool-worker.js',
      token: async () => {
        const response = await fetch('/token')
        if (response.status === 401) throw new SignedOut()
        if (!response.ok) throw new Error(`the token was answered ${response.status}`)
        return response.text()
      },
      ...options,
    }
    // An option that is undefined is none.
    for (const [key, value] of Object.entries(all)) if (value === undefined) Reflect.deleteProperty(all, key)
    this.db = createRockpool(all as BrowserRockpoolOptions<typeof schema>)
    this.db.on('recovered', (value) => void this.events.push(`recovered ${JSON.stringify(value)}`))
    await this.db.ready
  },
  async attempt(work) {
    try {
      await work()
      return 'ok'
    } catch (error) {
      return error instanceof Error && 'code' in error ? String(error.code) : String(error)
    }
  },
  all: (statement) => window.rockpool.db.query({ sql: statement, params: [] }),
  insert: (id) => window.rockpool.attempt(() => window.rockpool.db.notes.insert({ id, body: id })),
  follow() {
    this.db
      .live(sql<{ body: string }>`SELECT body FROM notes ORDER BY id`)
      .subscribe((rows) => (this.shown = rows.map(({ body }) => body)))
  },
  async slowly(id) {
    const go = new Promise<void>((resolve) => (release = resolve))
    return this.attempt(() =>
      this.db.write(async (tx) => {
        await tx.tables.notes.insert({ id, body: 'slowly' })
        this.held = true
        await go
        await tx.tables.notes.insert({ id: `${id}-2`, body: 'slowly' })
      }),
    )
  },
  release: () => release(),
}
