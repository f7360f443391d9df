import { sql, type DatabaseStatus } from '@rockpool/client'
import { el } from './element.ts'
import { localDatabase, type List, type Local, type Todo } from './local.ts'
import { corrected, refusedOf, type Refused } from './refused.ts'
import { remembered } from './remembered.ts'
import { words } from './words.ts'

// The whole page. The file is long because an example is copied from, and read as one.

const offline = remembered('offline')
const signedOut = remembered('signed-out')

class Pane {
  readonly #user: string
  readonly #db: Local
  readonly #gone: () => void
  readonly #section: HTMLElement
  readonly #state = el('span', { className: 'state' })
  readonly #network = el('button', { className: 'network', type: 'button' })
  readonly #leaveButton = el('button', { className: 'network', type: 'button', textContent: 'Sign out' })
  readonly #problems = el('ul', { className: 'problems' })
  readonly #lists = el('div')
  #shown = new Set<string>()
  #said = '[[],[]]'
  /** Why the last change could not be stored here, or null. */
  #unstored: string | null = null
  /** Counts updates, so that an older answer never replaces a newer one. */
  #turn = 0
  #data: { lists: readonly List[]; todos: readonly Todo[] } = { lists: [], todos: [] }

  constructor(user: string, db: Local, section: HTMLElement, gone: () => void) {
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
    this.#db.on('failed', () => this.#showStatus(this.#db.status))
    this.#showStatus(this.#db.status)
    this.#db.live(sql<List>`SELECT * FROM lists ORDER BY created_at, name`).subscribe((lists) => {
      this.#data.lists = lists
      this.#show()
    })
    this.#db.live(sql<Todo>`SELECT * FROM todos ORDER BY created_at, title`).subscribe((todos) => {
      this.#data.todos = todos
      this.#show()
    })
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

  #showStatus(status: DatabaseStatus): void {
    // Signed out by this button, or in another tab.
    if (status.state === 'closed') return this.#gone()
    const { headline, look, problems } = words(status)
    this.#state.textContent = headline
    this.#state.dataset.state = look
    this.#state.role = 'status'
    const away = status.state === 'offline'
    this.#network.textContent = away ? 'Go online' : 'Go offline'
    this.#network.ariaPressed = String(away)
    // The text differs depending on whether there is nothing, or nothing has arrived yet.
    if (this.#data.lists.length === 0) this.#show()
    void this.#showProblems(status.upload.failed, problems)
  }

  async #showProblems(count: number, problems: string[]): Promise<void> {
    const turn = ++this.#turn
    // They cannot be read after the token of another user has arrived.
    const refused = count === 0 ? [] : refusedOf(await this.#db.failed.list().catch(() => []))
    if (turn !== this.#turn) return
    const lines = this.#unstored === null ? problems : [...problems, this.#unstored]
    // A button must not be replaced while somebody is about to press it.
    const said = JSON.stringify([lines, refused])
    if (said === this.#said) return
    this.#said = said
    this.#problems.replaceChildren(
      ...lines.map((line) => el('li', {}, el('span', { textContent: line }))),
      ...refused.map((write) => this.#refused(write)),
    )
  }

  /** A write that the server has refused: send it again, correct it, or forget it. */
  #refused(write: Refused): HTMLElement {
    const { failed } = this.#db
    const button = (textContent: string, ariaLabel: string | null, work: () => Promise<unknown>): HTMLElement => {
      const made = el('button', { type: 'button', textContent, ariaLabel })
      made.addEventListener('click', () => void this.#try(work))
      return made
    }
    const also = write.also.length
    const builds = also === 0 ? '' : ` (and ${also === 1 ? 'a later change' : `${also} later changes`})`
    const item: HTMLElement = el(
      'li',
      { role: 'alert' },
      el('span', { textContent: `Not saved: ${write.message}${builds}` }),
      el(
        'span',
        { className: 'buttons' },
        button('Try again', null, () => failed.retry(write.id)),
        write.text === null
          ? null
          : button('Edit', null, async (): Promise<void> => item.append(this.#editor(write, write.text ?? ''))),
        button('OK', 'Dismiss', async () => {
          for (const id of [write.id, ...write.also]) await failed.dismiss(id)
        }),
      ),
    )
    return item
  }

  #editor(write: Refused, text: string): HTMLElement {
    const form = el('form', {}, el('input', { value: text, ariaLabel: 'Correct what was not saved' }))
    form.addEventListener('submit', (event) =>
      this.#submit(event, form, async (value) => {
        await this.#db.failed.edit(write.id, corrected(write.ops, value))
        for (const id of write.also) await this.#db.failed.retry(id)
      }),
    )
    return form
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
      () => void this.#try(() => this.#db.lists.update(list.id, { shared: !list.shared })),
    )
    const remove = el('button', { type: 'button', textContent: 'Delete', ariaLabel: `Delete the list ${list.name}` })
    remove.addEventListener('click', () => void this.#try(() => this.#deleteList(list, todos.length)))
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
    const box = el('input', { type: 'checkbox', checked: todo.done })
    box.addEventListener('change', () => void this.#try(() => this.#db.todos.update(todo.id, { done: box.checked })))
    const remove = el('button', {
      type: 'button',
      className: 'remove',
      textContent: '✕',
      ariaLabel: `Delete ${todo.title}`,
    })
    remove.addEventListener('click', () => void this.#try(() => this.#db.todos.delete(todo.id)))
    const arrived = this.#shown.size > 0 && !this.#shown.has(todo.id)
    const className = `todo${todo.done ? ' done' : ''}${arrived ? ' arrived' : ''}`
    return el('li', { className }, el('label', {}, box, el('span', { textContent: todo.title })), remove)
  }

  #submit(event: SubmitEvent, form: HTMLFormElement, use: (text: string) => Promise<unknown>): void {
    event.preventDefault()
    const input = form.querySelector('input')
    const text = input?.value.trim() ?? ''
    if (!input || text === '') return
    input.value = ''
    void this.#try(() => use(text))
  }

  #addList(name: string): Promise<unknown> {
    return this.#db.lists.insert({ name, owner_id: this.#user })
  }

  /** Owner and sharing of a todo are those of its list, whatever is written here. */
  #addTodo({ id, owner_id, shared }: List, title: string): Promise<unknown> {
    return this.#db.todos.insert({ list_id: id, title, owner_id, shared })
  }

  /** Both in one transaction: nobody sees the list without its todos. */
  async #deleteList({ id, name }: List, todos: number): Promise<void> {
    const what = todos === 0 ? '' : ` and ${todos === 1 ? 'its todo' : `its ${todos} todos`}`
    if (!confirm(`Delete the list “${name}”${what}?`)) return
    await this.#db.batch([sql`DELETE FROM todos WHERE list_id = ${id}`, sql`DELETE FROM lists WHERE id = ${id}`])
  }

  /** A change is stored when it resolves. When it cannot be, the page says so. */
  async #try(work: () => Promise<unknown>): Promise<void> {
    this.#unstored = await work().then(
      () => null,
      (error: unknown) => `Not stored: ${error instanceof Error ? error.message : String(error)}`,
    )
    this.#showStatus(this.#db.status)
  }
}

const nameOf = (user: string): string => `${user[0]?.toUpperCase()}${user.slice(1)}`

function signIn(user: string, section: HTMLElement): void {
  const db = localDatabase(user, !offline.has(user))
  new Pane(user, db, section, () => {
    offline.clear(user)
    offerSignIn(user, section)
  }).mount()
  // It opens itself when it is used; this only says why it cannot be opened.
  db.ready.catch((error: unknown) =>
    section.replaceChildren(el('p', { className: 'empty', role: 'alert', textContent: String(error) })),
  )
}

function offerSignIn(user: string, section: HTMLElement): void {
  const button = el('button', { type: 'button', className: 'network', textContent: `Sign in as ${nameOf(user)}` })
  const begin = (): void => {
    signedOut.clear(user)
    signIn(user, section)
  }
  button.addEventListener('click', begin, { once: true })
  section.replaceChildren(
    el('div', { className: 'signed-out' }, el('p', { textContent: `${nameOf(user)} is signed out.` }), button),
  )
}

const only = new URLSearchParams(location.search).get('user')
for (const user of only === null ? ['alice', 'bob'] : [only]) {
  const section = el('section', { className: 'pane', id: user, ariaLabel: nameOf(user) })
  document.querySelector('#panes')?.append(section)
  if (signedOut.has(user)) offerSignIn(user, section)
  else signIn(user, section)
}
