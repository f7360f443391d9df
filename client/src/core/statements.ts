import { ProblemError } from './problem.ts'

// What statements of the application may do. SQLite asks for each thing that a statement does while it compiles it (the
// authorizer); the numbers are SQLite's own action codes, which never change
// (https://www.sqlite.org/c3ref/c_alter_table.html).

const DELETE = 9
const INSERT = 18
const READ = 20
const SELECT = 21
const UPDATE = 23
const FUNCTION = 31
const RECURSIVE = 33

/**
 * True: allowed. `by`: the trigger or view that does it. Our own triggers write into our tables; the application makes
 * none.
 */
export function mayDo(action: number, table: string | null, by: string | null): boolean {
  if (action === READ || action === SELECT || action === FUNCTION || action === RECURSIVE) return true
  if (action !== INSERT && action !== UPDATE && action !== DELETE) return false
  return by !== null || !/^(rp_|sqlite_)/i.test(table ?? '')
}

const OURS = /\brp_(kv|buckets|ops|tx|outbox|failed|capture|dirty)\b/i

/**
 * For Node before 24.10, which has no authorizer: by the first word of the statement and by the names of our tables,
 * wherever they stand.
 */
export function mayRun(sql: string): boolean {
  const verb = /^[A-Za-z]+/.exec(sql.slice(blank(sql)))?.[0]?.toUpperCase() ?? ''
  if (verb === 'SELECT' || verb === 'VALUES' || verb === 'EXPLAIN') return true
  return ['INSERT', 'REPLACE', 'UPDATE', 'DELETE', 'WITH'].includes(verb) && !OURS.test(sql)
}

export const refused = (cause?: unknown): ProblemError =>
  new ProblemError(
    'statement',
    'this statement is not allowed: only rows of the tables of the schema can be read and written',
    { cause },
  )

/**
 * `compiled`: the part of `sql` that SQLite took as the first statement. It ignores the rest, so a second statement
 * would be lost without a word.
 */
export function checkSingle(sql: string, compiled: string): void {
  const tail = sql.slice(compiled.length)
  if (blank(tail) < tail.length)
    throw new ProblemError('statement', 'one statement at a time: what follows the first would not be run')
}

/** How many characters of the beginning are white space, comments and semicolons. */
function blank(sql: string): number {
  return /^(?:[\s;]|--[^\n]*(?:\n|$)|\/\*[^]*?(?:\*\/|$))*/.exec(sql)?.[0].length ?? 0
}
