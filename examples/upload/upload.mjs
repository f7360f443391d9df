import { createHash } from 'node:crypto'

const MAX_OPS = 1_000
const RETRY_SECONDS = 5
/** The client waits for 60 seconds. */
const REQUEST_MS = 15_000
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/** Thrown by `apply` for what will never be stored. `more`: `field`, and `current` for a conflict. */
export class Rejected extends Error {
  constructor(code, message, more = {}) {
    super(message)
    this.code = code
    this.more = more
  }
}

/**
 * Answers one upload of a user, whose token was verified before. `sql`: a connection of postgres.js. `apply(tx, op)`
 * writes one op, or throws `Rejected`. Returns the status and the body of the answer. Throws when the database cannot
 * be reached: answer 503, and nothing is decided.
 */
export async function answerUpload(sql, user, request, apply) {
  if (!isRequest(request)) return { status: 400, body: { error: { code: 'invalid', message: 'this is no upload' } } }
  const client = { user, id: request.client_id }
  const isKnown = await greet(sql, client, request.answered)
  const verdicts = []
  const end = Date.now() + REQUEST_MS
  for (const transaction of request.transactions) {
    const verdict = isKnown ? await decide(sql, client, transaction, apply) : { result: 'client_reset' }
    verdicts.push({ id: transaction.id, ...verdict })
    // Later ones may build on it.
    if (verdict.result === 'retry' || verdict.result === 'client_reset') break
    // The client sends again what has no verdict.
    if (Date.now() > end) break
  }
  const reopen = await sql`SELECT transaction_id AS id FROM upload_verdicts
    WHERE user_id = ${client.user} AND client_id = ${client.id} AND reopen ORDER BY seq`
  return { status: 200, body: { verdicts, reopen: reopen.map(({ id }) => id) } }
}

/**
 * Forgets what the client has stored, and nothing else: a repeat may come after months. Returns false for a client that
 * says that it was answered before, of which nothing is known.
 */
async function greet(sql, { user, id }, answered) {
  if (answered === 0)
    await sql`INSERT INTO upload_clients (user_id, client_id) VALUES (${user}, ${id}) ON CONFLICT DO NOTHING`
  // First the number and then the rows: what is neither here nor above the number is not applied.
  const [client] = await sql`UPDATE upload_clients SET answered = greatest(answered, ${answered})
    WHERE user_id = ${user} AND client_id = ${id} RETURNING answered`
  if (!client) return false
  // Rejected ones stay a week longer, for `reopen`.
  await sql`DELETE FROM upload_verdicts WHERE user_id = ${user} AND client_id = ${id} AND seq <= ${client.answered}
    AND (verdict ->> 'result' = 'accepted' OR decided_at < now() - interval '7 days')`
  return true
}

/** Effect and verdict are stored together, or neither is. */
async function decide(sql, client, transaction, apply) {
  try {
    return await sql.begin((tx) => decideOnce(tx, client, transaction, apply))
  } catch (error) {
    // The fault is ours, or it passes: a column that is missing, a lock, a restart. It must not become a verdict.
    console.error(`upload ${transaction.id} is not decided`, error)
    return { result: 'retry', code: error.code ?? 'unavailable', after: RETRY_SECONDS }
  }
}

async function decideOnce(tx, { user, id: client }, { id, seq, ops, retry_of }, apply) {
  await tx`SET LOCAL statement_timeout = '10s'`
  // The lock lets one transaction of a client through at a time: the same request may come twice at once.
  const [{ answered }] = await tx`SELECT answered FROM upload_clients
    WHERE user_id = ${user} AND client_id = ${client} FOR UPDATE`
  const hash = createHash('sha256').update(JSON.stringify(ops)).digest('hex')
  const [known] = await tx`SELECT ops_hash, verdict FROM upload_verdicts
    WHERE user_id = ${user} AND client_id = ${client} AND transaction_id = ${id}`
  if (known?.ops_hash === hash) return known.verdict
  if (known) return { result: 'rejected', code: 'id_reused', message: 'another transaction had this id' }
  if (seq <= Number(answered)) return { result: 'client_reset' }

  const touched = [...new Set(ops.map((op) => JSON.stringify([op.table, op.id])))]
  const [before] = await tx`SELECT transaction_id AS id FROM upload_verdicts
    WHERE user_id = ${user} AND client_id = ${client} AND seq > ${answered} AND seq < ${seq}
    AND verdict ->> 'result' = 'rejected' AND touched && ${touched} LIMIT 1`
  const verdict = before
    ? { result: 'rejected', code: 'depends_on', message: `it builds on ${before.id}, which was rejected` }
    : await applied(tx, ops, apply)
  await tx`INSERT INTO upload_verdicts (user_id, client_id, transaction_id, seq, ops_hash, verdict, touched)
    VALUES (${user}, ${client}, ${id}, ${seq}, ${hash}, ${tx.json(verdict)}, ${touched})`
  if (retry_of)
    await tx`UPDATE upload_verdicts SET reopen = false
      WHERE user_id = ${user} AND client_id = ${client} AND transaction_id = ${retry_of}`
  return verdict
}

async function applied(tx, ops, apply) {
  if (ops.length > MAX_OPS)
    return { result: 'rejected', code: 'too_many_ops', message: `a transaction has ${MAX_OPS} changes at most` }
  try {
    await tx.savepoint(async (inner) => {
      for (const op of ops) await apply(inner, op)
      // Otherwise COMMIT would fail, after the verdict was written.
      await inner`SET CONSTRAINTS ALL IMMEDIATE`
    })
    return { result: 'accepted' }
  } catch (error) {
    const rejected = rejectionOf(error)
    if (!rejected) throw error
    return { result: 'rejected', ...rejected }
  }
}

/** Null for everything that may be better the next time. */
function rejectionOf(error) {
  const { code, message } = error
  if (error instanceof Rejected) return { code, message, ...error.more }
  // SQLSTATEs: 22 is for values that do not fit, 23 and 44000 for constraints, P0001 for RAISE.
  if (/^22...$/.test(code)) return { code: 'value', message }
  if (/^(23...|44000)$/.test(code))
    return { code: 'constraint', message, ...(error.column_name ? { field: error.column_name } : {}) }
  return code === 'P0001' ? { code: 'raised', message } : null
}

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value)
const isNumber = (value) => Number.isSafeInteger(value) && value >= 0
const isOp = (op) =>
  isObject(op) &&
  ['put', 'patch', 'delete'].includes(op.op) &&
  typeof op.table === 'string' &&
  typeof op.id === 'string' &&
  (op.op === 'delete' || isObject(op.data))
const isTransaction = (each) =>
  isObject(each) &&
  UUID.test(each.id) &&
  isNumber(each.seq) &&
  (each.retry_of === undefined || UUID.test(each.retry_of)) &&
  Array.isArray(each.ops) &&
  each.ops.every(isOp)
const isRequest = (request) =>
  isObject(request) &&
  typeof request.client_id === 'string' &&
  /^[!-~]{1,256}$/.test(request.client_id) &&
  isNumber(request.answered) &&
  Array.isArray(request.transactions) &&
  request.transactions.length <= 100 &&
  request.transactions.every(isTransaction)
