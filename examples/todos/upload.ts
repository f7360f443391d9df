import type { Sql, TransactionSql } from 'postgres'
import { z } from 'zod'

const id = z.uuid()
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
const op = z.union([
  z.strictObject({ op: z.literal('put'), table: z.literal('lists'), id, data: list }),
  z.strictObject({ op: z.literal('patch'), table: z.literal('lists'), id, data: list.partial() }),
  z.strictObject({ op: z.literal('put'), table: z.literal('todos'), id, data: todo }),
  z.strictObject({ op: z.literal('patch'), table: z.literal('todos'), id, data: todo.partial() }),
  z.strictObject({ op: z.literal('delete'), table: z.enum(['lists', 'todos']), id, data: z.null() }),
])
const body = z.strictObject({
  client_id: z.string().min(1).max(256),
  transaction_id: z.int().positive(),
  ops: z.array(op).max(10_000),
})

type Op = z.infer<typeof op>

/** Thrown for a write that will never be accepted, so that the client must not repeat it. */
export class Rejected extends Error {
  readonly code: string
  readonly status: 400 | 403 | 409

  constructor(status: 400 | 403 | 409, code: string, message: string) {
    super(message)
    this.status = status
    this.code = code
  }
}

/**
 * Writes a client's transaction in one transaction of Postgres. A repeated one is accepted and changes nothing. Throws
 * Rejected.
 */
export async function applyUpload(sql: Sql, user: string, json: unknown): Promise<void> {
  const parsed = body.safeParse(json)
  if (!parsed.success) {
    const issue = parsed.error.issues[0]
    throw new Rejected(400, 'invalid', `${issue?.path.join('.') ?? 'body'}: ${issue?.message ?? 'not valid'}`)
  }
  const { client_id, transaction_id, ops } = parsed.data
  try {
    await sql.begin(async (tx) => {
      const first =
        await tx`INSERT INTO uploads (user_id, client_id, transaction_id) VALUES (${user}, ${client_id}, ${transaction_id})
        ON CONFLICT DO NOTHING`
      if (first.count === 0) return
      for (const each of ops) await applyOp(tx, user, each)
    })
  } catch (error) {
    // Class 22 is invalid data, 23 a violated constraint. Neither succeeds when it is repeated.
    if (error instanceof Error && 'code' in error && /^2[23]/.test(String(error.code))) {
      throw new Rejected(409, 'conflict', `Postgres refuses it: ${error.message}`)
    }
    throw error
  }
}

async function applyOp(tx: TransactionSql, user: string, each: Op): Promise<void> {
  if (each.table === 'lists') return each.op === 'delete' ? deleteList(tx, user, each.id) : writeList(tx, user, each)
  return each.op === 'delete' ? deleteTodo(tx, user, each.id) : writeTodo(tx, user, each)
}

async function writeList(
  tx: TransactionSql,
  user: string,
  each: Extract<Op, { table: 'lists'; op: 'put' | 'patch' }>,
): Promise<void> {
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
  } else if (known) {
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
async function writeTodo(
  tx: TransactionSql,
  user: string,
  each: Extract<Op, { table: 'todos'; op: 'put' | 'patch' }>,
): Promise<void> {
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
  } else if (known) {
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
  if (known === null) throw new Rejected(409, 'list_gone', 'the list no longer exists')
  if (known.owner_id !== user && !known.shared) throw forbidden('this list belongs to somebody else')
}

async function ownerOf(tx: TransactionSql, listId: string): Promise<{ owner_id: string; shared: boolean } | null> {
  const [row] = await tx<
    { owner_id: string; shared: boolean }[]
  >`SELECT owner_id, shared FROM lists WHERE id = ${listId} FOR UPDATE`
  return row ?? null
}

const forbidden = (message: string) => new Rejected(403, 'forbidden', message)
