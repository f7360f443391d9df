import type { TransactionSql } from 'postgres'
import { z } from 'zod'
import { Rejected, type UploadOp } from '../upload/upload.mjs'

const list = z.strictObject({
  name: z.string().trim().min(1).max(200),
  owner_id: z.string(),
  shared: z.boolean().optional(),
  created_at: z.string().nullish(),
})
const todo = z.strictObject({
  list_id: z.uuid(),
  title: z.string().trim().min(1).max(500),
  done: z.boolean().optional(),
  owner_id: z.string().nullish(),
  shared: z.boolean().nullish(),
  created_at: z.string().nullish(),
})
const id = z.uuid()

type Write<P, C> = { op: 'put'; id: string; data: P } | { op: 'patch'; id: string; data: C }
const listPatch = list.partial()
const todoPatch = todo.partial()
type ListWrite = Write<z.infer<typeof list>, z.infer<typeof listPatch>>
type TodoWrite = Write<z.infer<typeof todo>, z.infer<typeof todoPatch>>

/** Writes one op of a user. Throws Rejected for what he may not do, and for what cannot be. */
export async function applyWrite(tx: TransactionSql, user: string, op: UploadOp): Promise<void> {
  valid(id, op.id)
  if (op.table === 'lists')
    return op.op === 'delete' ? deleteList(tx, user, op.id) : writeList(tx, user, checked(list, listPatch, op))
  if (op.table === 'todos')
    return op.op === 'delete' ? deleteTodo(tx, user, op.id) : writeTodo(tx, user, checked(todo, todoPatch, op))
  throw new Rejected('value', `there is no table ${op.table}`)
}

function checked<P, C>(
  put: z.ZodType<P>,
  patch: z.ZodType<C>,
  { op, id, data }: Exclude<UploadOp, { op: 'delete' }>,
): Write<P, C> {
  return op === 'put' ? { op, id, data: valid(put, data) } : { op, id, data: valid(patch, data) }
}

function valid<T>(shape: z.ZodType<T>, value: unknown): T {
  const parsed = shape.safeParse(value)
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  const field = String(issue?.path[0] ?? 'id')
  throw issue?.code === 'unrecognized_keys'
    ? new Rejected('column', issue.message, issue.keys[0] === undefined ? {} : { field: issue.keys[0] })
    : new Rejected('value', `${field}: ${issue?.message ?? 'not valid'}`, { field })
}

async function writeList(tx: TransactionSql, user: string, each: ListWrite): Promise<void> {
  const known = await ownerOf(tx, each.id)
  if (known !== null && known.owner_id !== user) throw forbidden('this list belongs to somebody else')
  const { name, owner_id, shared } = each.data
  if (owner_id !== undefined && owner_id !== user) throw forbidden('a list can only be made for yourself')
  if (each.op === 'put') {
    // Another user may create a list with this id after its owner was read: then nothing is written.
    const written =
      await tx`INSERT INTO lists (id, name, owner_id, shared) VALUES (${each.id}, ${each.data.name}, ${user}, ${shared ?? false})
      ON CONFLICT (id) DO UPDATE SET name = excluded.name, shared = excluded.shared WHERE lists.owner_id = ${user}`
    if (written.count === 0) throw forbidden('this list belongs to somebody else')
  } else {
    if (known === null) throw gone('the list')
    if (name !== undefined) await tx`UPDATE lists SET name = ${name} WHERE id = ${each.id}`
    if (shared !== undefined) await tx`UPDATE lists SET shared = ${shared} WHERE id = ${each.id}`
  }
}

async function deleteList(tx: TransactionSql, user: string, listId: string): Promise<void> {
  const known = await ownerOf(tx, listId)
  if (known === null) return
  if (known.owner_id !== user) throw forbidden('this list belongs to somebody else')
  await tx`DELETE FROM lists WHERE id = ${listId}`
}

/** Everybody may change the todos of a shared list. */
async function writeTodo(tx: TransactionSql, user: string, each: TodoWrite): Promise<void> {
  const [known] = await tx<{ list_id: string }[]>`SELECT list_id FROM todos WHERE id = ${each.id}`
  for (const listId of new Set([known?.list_id, each.data.list_id]))
    if (listId !== undefined) await mayEdit(tx, user, listId)
  const { list_id, title, done } = each.data
  if (each.op === 'put') {
    const written = await tx`INSERT INTO todos (id, list_id, title, done, owner_id)
      VALUES (${each.id}, ${each.data.list_id}, ${each.data.title}, ${done ?? false}, ${user})
      ON CONFLICT (id) DO UPDATE SET list_id = excluded.list_id, title = excluded.title, done = excluded.done
      WHERE todos.owner_id = ${user} OR todos.shared`
    if (written.count === 0) throw forbidden('this list belongs to somebody else')
  } else {
    if (!known) throw gone('the todo')
    if (list_id !== undefined) await tx`UPDATE todos SET list_id = ${list_id} WHERE id = ${each.id}`
    if (title !== undefined) await tx`UPDATE todos SET title = ${title} WHERE id = ${each.id}`
    if (done !== undefined) await tx`UPDATE todos SET done = ${done} WHERE id = ${each.id}`
  }
}

async function deleteTodo(tx: TransactionSql, user: string, todoId: string): Promise<void> {
  const [known] = await tx<{ list_id: string }[]>`SELECT list_id FROM todos WHERE id = ${todoId}`
  if (!known) return
  await mayEdit(tx, user, known.list_id)
  await tx`DELETE FROM todos WHERE id = ${todoId}`
}

async function mayEdit(tx: TransactionSql, user: string, listId: string): Promise<void> {
  const known = await ownerOf(tx, listId)
  if (known === null) throw gone('the list')
  if (known.owner_id !== user && !known.shared) throw forbidden('this list belongs to somebody else')
}

async function ownerOf(tx: TransactionSql, listId: string): Promise<{ owner_id: string; shared: boolean } | null> {
  const [row] = await tx<
    { owner_id: string; shared: boolean }[]
  >`SELECT owner_id, shared FROM lists WHERE id = ${listId} FOR UPDATE`
  return row ?? null
}

const forbidden = (message: string) => new Rejected('not_allowed', message)
/** A change of nothing is refused: accepted, it would show somebody his change until it disappears. */
const gone = (what: string) => new Rejected('not_found', `${what} no longer exists`)
