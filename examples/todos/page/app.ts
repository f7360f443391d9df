import { openSync, SignedOut, type Schema, type Status, type SyncDatabase } from '@rockpool/client'
import { el } from './element.ts'
import { remembered } from './remembered.ts'
import { words } from './words.ts'

// The whole page. The file is long because an example is copied from, and read as one.

/** The URL of Rockpool, which the server inserts. */
declare const ENDPOINT: string

interface List {
  id: string
  name: string
  owner_id: string
  shared: number
}
interface Todo {
  id: string
  list_id: string
  title: string
  done: number
}

const schema = {
  tables: {
    lists: { columns: { name: 'text', owner_id: 'text', shared: 'boolean', created_at: 'text' } },
    todos: {
      columns: {
        list_id: 'text',
        title: 'text',
        done: 'boolean',
        owner_id: 'text',
        shared: 'boolean',
        created_at: 'text',
      },
      indexes: { by_list: ['list_id'] },
    },
  },
} satisfies Schema

async function token(user: string): Promise<string> {
  const response = await fetch('/api/token', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ user }),
  })
  // Other problems may be temporary.
  if (response.status === 400) throw new SignedOut(`the server does not know ${user}`)
  if (!response.ok) throw new Error(`no token: ${response.status}`)
  const body: { token: string } = await response.json()
  return body.token
}

const offline = remembered('offline')
const signedOut = remembered('signed-out')

class Pane {
  readonly #user: string
  readonly #db: SyncDatabase
  readonly #gone: () => void
  readonly #section: HTMLElement
  readonly #state = el('span', { className: 'state' })
  readonly #network = el('button', { className: 'network', type: 'button' })
  readonly #leaveButton = el('button', { className: 'network', type: 'button', textContent: 'Sign out' })
  readonly #problems = el('ul', { className: 'problems' })
  readonly #lists = el('div')
  #shown = new Set<string>()
  #said = '[null,[]]'
  /** Counts updates, so that an older answer never replaces a newer one. */
  #turn = 0
  #data: { lists: List[]; todos: Todo[] } = { lists: [], todos: [] }

  constructor(user: string, db: SyncDatabase, section: HTMLElement, gone: () => void) {
    this.#user = user
    this.#db = db
    this.#section = section
    this.#gone = gone
  }

  mount(): void {
    const name = nameOf(this.#user)
    const add = el(
      'form',
      { className: 'new-list' },
      el('input', { placeholder: 'New list …', ariaLabel: `New list of ${name}`, maxLength: 200 }),
    )
    add.addEventListener('submit', (event) => this.#submit(event, add, (text) => this.#addList(text)))
    const title = el('div', {}, el('h2', { textContent: name }), this.#state)
    const header = el(
      'header',
      {},
      el('span', { className: 'avatar', textContent: name[0] ?? '', ariaHidden: 'true' }),
      title,
      el('div', { className: 'buttons' }, this.#network, this.#leaveButton),
    )
    this.#section.replaceChildren(header, this.#problems, this.#lists, add)
    this.#leaveButton.addEventListener('click', () => void this.#leave())
    this.#network.addEventListener('click', () => void this.#toggleNetwork())
    this.#db.on('status', (status) => this.#showStatus(status))
    this.#showStatus(this.#db.status)
    this.#db.live<List>(
      'SELECT id, name, owner_id, shared FROM lists ORDER BY created_at IS NULL, created_at, name',
      [],
      (lists) => {
        this.#data.lists = lists
        this.#show()
      },
    )
    this.#db.live<Todo>(
      'SELECT id, list_id, title, done FROM todos ORDER BY created_at IS NULL, created_at, title',
      [],
      (todos) => {
        this.#data.todos = todos
        this.#show()
      },
    )
  }

  async #toggleNetwork(): Promise<void> {
    const goes = this.#db.status.state !== 'offline'
    offline[goes ? 'set' : 'clear'](this.#user)
    await (goes ? this.#db.disconnect() : this.#db.connect())
  }

  /** Asks before it deletes unsent changes. */
  async #leave(): Promise<void> {
    try {
      await this.#signOut('refuse')
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'unsent')) throw error
      if (confirm('Some changes were not sent. Sign out and lose them?')) await this.#signOut('discard')
    }
  }

  /** Remembers the sign-out first, because a page that is loaded meanwhile must not sign in again. */
  async #signOut(unsent: 'refuse' | 'discard'): Promise<void> {
    signedOut.set(this.#user)
    try {
      await this.#db.signOut({ unsent })
    } catch (error) {
      signedOut.clear(this.#user)
      throw error
    }
  }

  #showStatus(status: Status): void {
    // Signed out by this button, or in another tab.
    if (status.state === 'closed') return this.#gone()
    const { headline, look, problem } = words(status)
    this.#state.textContent = headline
    this.#state.dataset.state = look
    this.#state.role = 'status'
    const away = status.state === 'offline'
    this.#network.textContent = away ? 'Go online' : 'Go offline'
    this.#network.ariaPressed = String(away)
    // The text differs depending on whether there is nothing, or nothing has arrived yet.
    if (this.#data.lists.length === 0) this.#show()
    void this.#showProblems(status.failedWrites, problem)
  }

  async #showProblems(count: number, problem: string | null): Promise<void> {
    const turn = ++this.#turn
    // Failed writes cannot be read after the token of another user has arrived.
    const failed = count === 0 ? [] : await this.#db.failedWrites().catch(() => [])
    if (turn !== this.#turn) return
    // A button must not be replaced while somebody is about to press it.
    const said = JSON.stringify([problem, failed])
    if (said === this.#said) return
    this.#said = said
    this.#problems.replaceChildren(
      ...(problem === null ? [] : [el('li', {}, el('span', { textContent: problem }))]),
      ...failed.map((write) => {
        const dismiss = el('button', { type: 'button', textContent: 'OK', ariaLabel: 'Dismiss' })
        dismiss.addEventListener('click', () => void this.#db.dismissFailedWrites(write.transactionId))
        const again = el('button', { type: 'button', textContent: 'Try again' })
        again.addEventListener('click', () => void this.#db.retryFailedWrite(write.transactionId))
        const text = el('span', { textContent: `Not saved: ${write.error.message}` })
        return el('li', { role: 'alert' }, text, el('span', { className: 'buttons' }, again, dismiss))
      }),
    )
  }

  #show(): void {
    const focused = document.activeElement?.getAttribute('data-list')
    const drafts = new Map(
      [...this.#lists.querySelectorAll('input[data-list]')].map((input) => [
        input.getAttribute('data-list'),
        input instanceof HTMLInputElement ? input.value : '',
      ]),
    )
    const { lists, todos } = this.#data
    const empty =
      this.#db.status.lastSyncedAt === null ? 'Nothing has arrived yet.' : 'Nothing here yet. Make a list below.'
    this.#lists.replaceChildren(
      ...(lists.length === 0 ? [el('p', { className: 'empty', textContent: empty })] : []),
      ...lists.map((list) =>
        this.#list(
          list,
          todos.filter((todo) => todo.list_id === list.id),
          drafts.get(list.id) ?? '',
        ),
      ),
    )
    if (focused) this.#lists.querySelector<HTMLInputElement>(`input[data-list="${focused}"]`)?.focus()
    this.#shown = new Set(todos.map((todo) => todo.id))
  }

  #list(list: List, todos: Todo[], draft: string): HTMLElement {
    const mine = list.owner_id === this.#user
    const tag = list.shared
      ? el('span', { className: 'tag', textContent: mine ? 'shared' : `shared by ${list.owner_id}` })
      : null
    const share = el('button', {
      type: 'button',
      className: 'share',
      textContent: list.shared ? 'Stop sharing' : 'Share',
    })
    share.addEventListener(
      'click',
      () => void this.#run('UPDATE lists SET shared = ? WHERE id = ?', [!list.shared, list.id]),
    )
    const remove = el('button', { type: 'button', textContent: 'Delete', ariaLabel: `Delete the list ${list.name}` })
    remove.addEventListener('click', () => void this.#deleteList(list, todos.length))
    const tools = mine ? el('div', { className: 'tools' }, share, remove) : null
    const input = el('input', {
      placeholder: 'Add a todo …',
      ariaLabel: `Add a todo to ${list.name}`,
      maxLength: 500,
      value: draft,
    })
    input.dataset.list = list.id
    const form = el('form', {}, input)
    form.addEventListener('submit', (event) => this.#submit(event, form, (text) => this.#addTodo(list, text)))
    const items = el('ul', { className: 'todos' }, ...todos.map((todo) => this.#todo(todo)))
    return el(
      'article',
      { className: 'list' },
      el('header', {}, el('h3', { textContent: list.name }), tag, tools),
      items,
      form,
    )
  }

  #todo(todo: Todo): HTMLElement {
    const box = el('input', { type: 'checkbox', checked: todo.done === 1 })
    box.addEventListener(
      'change',
      () => void this.#run('UPDATE todos SET done = ? WHERE id = ?', [box.checked, todo.id]),
    )
    const remove = el('button', {
      type: 'button',
      className: 'remove',
      textContent: '✕',
      ariaLabel: `Delete ${todo.title}`,
    })
    remove.addEventListener('click', () => void this.#run('DELETE FROM todos WHERE id = ?', [todo.id]))
    const arrived = this.#shown.size > 0 && !this.#shown.has(todo.id)
    const className = `todo${todo.done ? ' done' : ''}${arrived ? ' arrived' : ''}`
    return el('li', { className }, el('label', {}, box, el('span', { textContent: todo.title })), remove)
  }

  #submit(event: SubmitEvent, form: HTMLFormElement, use: (text: string) => Promise<void>): void {
    event.preventDefault()
    const input = form.querySelector('input')
    const text = input?.value.trim() ?? ''
    if (!input || text === '') return
    input.value = ''
    void use(text)
  }

  #addList(name: string): Promise<void> {
    const values = [crypto.randomUUID(), name, this.#user, false, new Date().toISOString()]
    return this.#run('INSERT INTO lists (id, name, owner_id, shared, created_at) VALUES (?, ?, ?, ?, ?)', values)
  }

  #addTodo(list: List, title: string): Promise<void> {
    const values = [
      crypto.randomUUID(),
      list.id,
      title,
      false,
      list.owner_id,
      list.shared === 1,
      new Date().toISOString(),
    ]
    return this.#run(
      'INSERT INTO todos (id, list_id, title, done, owner_id, shared, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)',
      values,
    )
  }

  async #deleteList({ id, name }: List, todos: number): Promise<void> {
    const what = todos === 0 ? '' : ` and ${todos === 1 ? 'its todo' : `its ${todos} todos`}`
    if (!confirm(`Delete the list “${name}”${what}?`)) return
    await this.#db.write(async (tx) => {
      await tx.execute('DELETE FROM todos WHERE list_id = ?', [id])
      await tx.execute('DELETE FROM lists WHERE id = ?', [id])
    })
  }

  async #run(sql: string, params: (string | boolean)[]): Promise<void> {
    await this.#db.write((tx) => tx.execute(sql, params))
  }
}

const nameOf = (user: string): string => `${user[0]?.toUpperCase()}${user.slice(1)}`

/** Each person has a database of their own, which nobody else can open. */
async function signIn(user: string, section: HTMLElement): Promise<void> {
  const db = await openSync({
    url: ENDPOINT,
    schema,
    name: `todos-${user}`,
    user,
    connect: !offline.has(user),
    auth: () => token(user),
    uploadUrl: new URL('/api/upload', location.href).href,
  })
  new Pane(user, db, section, () => {
    offline.clear(user)
    offerSignIn(user, section)
  }).mount()
}

function offerSignIn(user: string, section: HTMLElement): void {
  const button = el('button', { type: 'button', className: 'network', textContent: `Sign in as ${nameOf(user)}` })
  const begin = (): void => {
    signedOut.clear(user)
    void begun(user, section)
  }
  button.addEventListener('click', begin, { once: true })
  section.replaceChildren(
    el('div', { className: 'signed-out' }, el('p', { textContent: `${nameOf(user)} is signed out.` }), button),
  )
}

const begun = (user: string, section: HTMLElement): Promise<void> =>
  signIn(user, section).catch((error: unknown) =>
    section.replaceChildren(el('p', { className: 'empty', role: 'alert', textContent: String(error) })),
  )

const only = new URLSearchParams(location.search).get('user')
for (const user of only === null ? ['alice', 'bob'] : [only]) {
  const section = el('section', { className: 'pane', id: user, ariaLabel: nameOf(user) })
  document.querySelector('#panes')?.append(section)
  if (signedOut.has(user)) offerSignIn(user, section)
  else await begun(user, section)
}
