import { DatabaseSync } from 'node:sqlite'
import type { Random } from '../../../test/support/random.ts'
import { LocalDatabase } from '../core/database/database.ts'
import { nodeSqlite } from '../sqlite/node.ts'
import { Desk } from './desk.ts'
import type { ToOwner, ToTab } from './messages.ts'
import { RemoteDatabase } from './remote.ts'

// Tabs and an owner over one file, and between them messages that a schedule delivers, one after the other, or not at
// all. Whoever ends takes with him what is on its way to him.

interface Tab {
  name: string
  remote: RemoteDatabase
  inbox: ToTab[]
  /** It has said how it goes: nobody answers him any more. */
  isGone: boolean
  /** Nobody reaches it, as a page that is frozen. */
  isAway: boolean
}

interface Owner {
  id: string
  db: LocalDatabase
  file: DatabaseSync
  desk: Desk
  inbox: ToOwner[]
  ended: boolean
}

export class Tabs {
  readonly tabs: Tab[] = []
  readonly #path: string
  readonly #random: Random
  owner: Owner | null = null
  now = 0
  #names = 0

  constructor(path: string, random: Random) {
    this.#path = path
    this.#random = random
  }

  begin(): Tab {
    const name = `tab-${++this.#names}`
    const remote = new RemoteDatabase({
      tab: name,
      user: null,
      post: (message) => {
        if (!tab.isGone && !tab.isAway) this.owner?.inbox.push(structuredClone(message))
      },
      now: () => this.now,
      leave: async () => {},
      closed: () => {},
      isVisible: () => true,
    })
    const tab: Tab = { name, remote, inbox: [], isGone: false, isAway: false }
    this.tabs.push(tab)
    remote.hello()
    return tab
  }

  /** The worker with the lock opens the file. */
  own(): void {
    const file = new DatabaseSync(this.#path)
    file.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF')
    const db = new LocalDatabase({
      db: nodeSqlite(file),
      kind: 'file',
      flush: () => {},
      schema: { tables: { notes: { columns: { body: 'text' } } } },
      url: 'http://127.0.0.1:1',
      identify: () => Promise.reject(new Error('nobody asks')),
      post: null,
      checkpoint: () => Promise.reject(new Error('nobody asks')),
    })
    const id = `owner-${++this.#names}`
    const desk = new Desk({
      db,
      owner: id,
      post: (to, message) => {
        if (!owner.ended)
          this.tabs.find(({ name, isAway }) => name === to && !isAway)?.inbox.push(structuredClone(message))
      },
      watch: (name) => {
        // Its lock is free.
        if (this.tabs.some((tab) => tab.name === name && tab.isGone)) queueMicrotask(() => desk.gone(name))
      },
      closed: () => {},
      isFatal: () => owner.ended,
    })
    const owner: Owner = { id, db, file, desk, inbox: [], ended: false }
    this.owner = owner
    for (const { remote, isGone, isAway } of this.tabs) if (!isGone && !isAway) remote.receiveAll({ announce: id })
  }

  /** In the middle of whatever it does: an open transaction is not in the file. */
  kill(): void {
    const { owner } = this
    if (!owner) return
    this.owner = null
    owner.ended = true
    owner.file.close()
  }

  leave(tab: Tab): void {
    tab.isGone = true
    tab.inbox.length = 0
    // What it has sent may arrive, and what it waits for does not.
    this.owner?.desk.gone(tab.name)
  }

  /** What it has sent may arrive, and it comes back as the same. */
  suspend(tab: Tab): void {
    tab.isAway = true
    tab.inbox.length = 0
    tab.remote.lost()
    this.owner?.desk.gone(tab.name)
  }

  resume(tab: Tab): void {
    tab.isAway = false
    tab.remote.hello()
  }

  /** Delivers one message; false: there is none. */
  async step(): Promise<boolean> {
    const boxes = [
      ...(this.owner && this.owner.inbox.length > 0 ? [() => this.#toOwner()] : []),
      ...this.tabs.filter(({ inbox, isGone }) => inbox.length > 0 && !isGone).map((tab) => () => this.#toTab(tab)),
    ]
    if (boxes.length === 0) return false
    this.#random.pick(boxes)()
    await settled()
    return true
  }

  #toOwner(): void {
    const message = this.owner?.inbox.shift()
    if (message) this.owner?.desk.receive(message)
  }

  #toTab(tab: Tab): void {
    const message = tab.inbox.shift()
    if (message) tab.remote.receive(message)
  }
}

/** Whatever the promises of this moment lead to has happened. */
export const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
