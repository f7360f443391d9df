import { openSync, SignedOut, type BrowserSyncOptions, type SyncDatabase } from '../../client/src/index.ts'

// Runs in the browser: a page of an application, which a test calls.

export interface DevicePage {
  db: SyncDatabase
  /** Codes of what was thrown, `ok` for what was not. */
  attempt(work: () => Promise<unknown>): Promise<string>
  open(options: Partial<BrowserSyncOptions>): Promise<void>
  /** Writes a row, waits for `release`, and writes another one, unless `commitOnly` was called. */
  slowly(id: string): Promise<string>
  release(): void
  /** Whether such a transaction has begun and waits. */
  held(): boolean
  commitOnly(): void
}

declare global {
  interface Window {
    page: DevicePage
  }
}

let release: () => void = () => {}
let held = false
let alone = false

window.page = {
  db: undefined as never,
  async open(options) {
    this.db = await openSync({
      url: location.origin,
      uploadUrl: '/upload',
      name: 'device',
      schema: { tables: { notes: { columns: { body: 'text' } } } },
      auth: async () => {
        const response = await fetch('/token')
        if (response.status === 401) throw new SignedOut()
        if (!response.ok) throw new Error(`the token was answered ${response.status}`)
        return response.text()
      },
      ...options,
    })
  },
  async attempt(work) {
    try {
      await work()
      return 'ok'
    } catch (error) {
      if (!(error instanceof Error && 'code' in error)) return String(error)
      console.log(`refused: ${String(error.code)}: ${error.message}`)
      return String(error.code)
    }
  },
  async slowly(id) {
    const go = new Promise<void>((resolve) => (release = resolve))
    return this.attempt(() =>
      this.db.write(async (tx) => {
        await tx.execute('INSERT INTO notes (id, body) VALUES (?, ?)', [id, 'slowly'])
        held = true
        await go
        if (!alone) await tx.execute('INSERT INTO notes (id, body) VALUES (?, ?)', [`${id}-2`, 'slowly'])
      }),
    )
  },
  release: () => release(),
  held: () => held,
  commitOnly: () => void (alone = true),
}
