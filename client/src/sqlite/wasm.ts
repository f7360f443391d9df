import type { DbPtr, Sqlite3Static, StmtPtr, WasmPointer } from '@sqlite.org/sqlite-wasm'
import { checkSingle, refused } from '../core/statements.ts'
import type { SqlValue } from '../types.ts'
import { Judge } from './judge.ts'
import { KeptStatements } from './kept-statements.ts'
import { Scratch } from './scratch.ts'
import type { ApplicationStatement, Params, Sqlite, Statement } from './sqlite.ts'

// SQLite's wasm build by its raw functions. The file is long because all of it is one connection.

/** A statement that runs is looked at every so many steps of SQLite's machine. */
const STEPS = 1_000
/** And without a check so seldom, only to be watched. */
const WATCHED_STEPS = 20_000
/** Of short statements every so many-th is watched. */
const WATCHED_STATEMENTS = 64
const SQLITE_AUTH = 23

/** A character of JavaScript is at most so many bytes of UTF-8. */
const BYTES_OF_CHARACTER = 3

/**
 * What is called for each row and value, as the module exports it: the conversions of `capi` cost more than the calls.
 */
interface Raw {
  sqlite3_step(statement: StmtPtr): number
  sqlite3_reset(statement: StmtPtr): number
  sqlite3_clear_bindings(statement: StmtPtr): number
  sqlite3_bind_null(statement: StmtPtr, at: number): number
  sqlite3_bind_int(statement: StmtPtr, at: number, value: number): number
  sqlite3_bind_int64(statement: StmtPtr, at: number, value: bigint): number
  sqlite3_bind_double(statement: StmtPtr, at: number, value: number): number
  sqlite3_bind_text(statement: StmtPtr, at: number, bytes: WasmPointer, length: number, lives: number): number
  sqlite3_bind_blob(statement: StmtPtr, at: number, bytes: WasmPointer, length: number, lives: number): number
  sqlite3_column_count(statement: StmtPtr): number
  sqlite3_column_type(statement: StmtPtr, at: number): number
  sqlite3_column_int64(statement: StmtPtr, at: number): bigint
  sqlite3_column_double(statement: StmtPtr, at: number): number
  sqlite3_column_text(statement: StmtPtr, at: number): WasmPointer
  sqlite3_column_blob(statement: StmtPtr, at: number): WasmPointer
  sqlite3_column_bytes(statement: StmtPtr, at: number): number
  sqlite3_changes(db: DbPtr): number
  sqlite3_get_autocommit(db: DbPtr): number
  sqlite3_set_authorizer(db: DbPtr, callback: WasmPointer, argument: number): number
  sqlite3_progress_handler(db: DbPtr, steps: number, callback: WasmPointer, argument: number): void
}

export class WasmSqliteError extends Error {
  override readonly name = 'WasmSqliteError'
  /** SQLite's extended result code. */
  readonly resultCode: number

  constructor(resultCode: number, message: string) {
    super(message)
    this.resultCode = resultCode
  }
}

/**
 * SQLite's wasm build as the core wants it. `path` and `vfs` as `sqlite3_open_v2` wants them; `beginning`: what the
 * connection begins with; `watch`: called again and again while it works.
 */
export function wasmSqlite(
  { capi, wasm }: Sqlite3Static,
  options: { path: string; vfs?: string; beginning?: string; watch?: () => void },
): Sqlite {
  const raw = wasm.exports as unknown as Raw
  const encoder = new TextEncoder()
  const decoder = new TextDecoder()
  const own = new KeptStatements<Statement>()
  const applications = new KeptStatements<ApplicationStatement>()
  const scratch = new Scratch(wasm)
  let judge: Judge | null = null
  let interrupts: (() => boolean) | null = null
  let ran = 0
  let isClosed = false
  const db = open()
  // By address: the conversions of `capi` would make texts for our own statements too, which nobody judges.
  const authorizer = wasm.installFunction('i(pipppp)', authorize)
  const progress = wasm.installFunction('i(p)', () => (isInterrupted() ? 1 : 0))
  raw.sqlite3_set_authorizer(db, authorizer, 0)

  function authorize(_: WasmPointer, action: number, ...texts: WasmPointer[]): number {
    if (judge === null) return 0
    const [table = null, column = null, , by = null] = texts.map((text) => (text === 0 ? null : wasm.cstrToJs(text)))
    return judge.allows(action, table, column, by) ? 0 : 1
  }

  /** Nothing may be thrown through SQLite. */
  function isInterrupted(): boolean {
    try {
      options.watch?.()
      return interrupts !== null && interrupts()
    } catch (error) {
      console.error(error)
      return true
    }
  }

  function open(): DbPtr {
    const stack = wasm.pstack.pointer
    try {
      const out = wasm.pstack.alloc(8)
      const flags = capi.SQLITE_OPEN_READWRITE | capi.SQLITE_OPEN_CREATE | capi.SQLITE_OPEN_EXRESCODE
      const code = capi.sqlite3_open_v2(options.path, out, flags, options.vfs ?? (0 as unknown as string))
      const opened = wasm.peekPtr(out) as unknown as DbPtr
      if (code !== 0) {
        const error = new WasmSqliteError(code, capi.sqlite3_errmsg(opened))
        capi.sqlite3_close_v2(opened)
        throw error
      }
      return opened
    } finally {
      wasm.pstack.restore(stack)
    }
  }

  function check(code: number): void {
    if (code !== 0) throw new WasmSqliteError(code, capi.sqlite3_errmsg(db))
  }

  function prepare(sql: string): StmtPtr {
    const stack = wasm.pstack.pointer
    try {
      const out = wasm.pstack.alloc(8)
      check(capi.sqlite3_prepare_v3(db, sql, -1, capi.SQLITE_PREPARE_PERSISTENT, out, 0 as never))
      return wasm.peekPtr(out) as unknown as StmtPtr
    } finally {
      wasm.pstack.restore(stack)
    }
  }

  function bind(statement: StmtPtr, params: Params): void {
    // What is bound as it lies there must not move: so the space for all of it is taken first.
    let bytes = 0
    for (const value of params) {
      if (typeof value === 'string') bytes += value.length * BYTES_OF_CHARACTER
      else if (value instanceof Uint8Array) bytes += value.length
    }
    let free = scratch.take(bytes)
    const heap = wasm.heap8u()
    for (const [n, value] of params.entries()) {
      const at = n + 1
      if (value === null) check(raw.sqlite3_bind_null(statement, at))
      else if (typeof value === 'string') {
        const { written } = encoder.encodeInto(value, heap.subarray(free, free + value.length * BYTES_OF_CHARACTER))
        check(raw.sqlite3_bind_text(statement, at, free, written, 0))
        free += written
      } else if (typeof value === 'number') {
        if ((value | 0) === value) check(raw.sqlite3_bind_int(statement, at, value))
        else if (Number.isSafeInteger(value)) check(raw.sqlite3_bind_int64(statement, at, BigInt(value)))
        else check(raw.sqlite3_bind_double(statement, at, value))
      } else if (typeof value === 'bigint') {
        if (BigInt.asIntN(64, value) !== value) throw new RangeError(`${value} has more than 64 bits`)
        check(raw.sqlite3_bind_int64(statement, at, value))
      } else {
        heap.set(value, free)
        check(raw.sqlite3_bind_blob(statement, at, free, value.length, 0))
        free += value.length
      }
    }
  }

  function read(statement: StmtPtr, at: number): SqlValue {
    switch (raw.sqlite3_column_type(statement, at)) {
      case 1: {
        const value = raw.sqlite3_column_int64(statement, at)
        const number = Number(value)
        return Number.isSafeInteger(number) ? number : value
      }
      case 2:
        return raw.sqlite3_column_double(statement, at)
      case 3: {
        const from = raw.sqlite3_column_text(statement, at)
        return decoder.decode(wasm.heap8u().subarray(from, from + raw.sqlite3_column_bytes(statement, at)))
      }
      case 4: {
        const from = raw.sqlite3_column_blob(statement, at)
        return wasm.heap8u().slice(from, from + raw.sqlite3_column_bytes(statement, at))
      }
      default:
        return null
    }
  }

  /** Runs it to its end, and forgets what was bound. */
  function run(statement: StmtPtr, params: Params, row: () => void): void {
    if (++ran % WATCHED_STATEMENTS === 0) options.watch?.()
    try {
      bind(statement, params)
      let code = raw.sqlite3_step(statement)
      for (; code === capi.SQLITE_ROW; code = raw.sqlite3_step(statement)) row()
      if (code !== capi.SQLITE_DONE) check(code)
    } finally {
      raw.sqlite3_reset(statement)
      raw.sqlite3_clear_bindings(statement)
    }
  }

  function wrap(pointer: StmtPtr): Statement {
    return {
      run(params = []) {
        run(pointer, params, () => {})
        return raw.sqlite3_changes(db)
      },
      all(params = []) {
        const rows: SqlValue[][] = []
        // SQLite may compile it again, with other columns, when it runs.
        run(pointer, params, () => {
          rows.push(Array.from({ length: raw.sqlite3_column_count(pointer) }, (_, at) => read(pointer, at)))
        })
        return rows
      },
    }
  }

  const exec = (script: string): void => check(capi.sqlite3_exec(db, script, 0 as never, 0 as never, 0 as never))

  function single(sql: string): StmtPtr {
    const pointer = prepare(sql)
    try {
      checkSingle(sql, capi.sqlite3_sql(pointer))
      return pointer
    } catch (error) {
      capi.sqlite3_finalize(pointer)
      throw error
    }
  }

  function judged<T>(by: Judge, work: () => T): T {
    judge = by
    try {
      return work()
    } catch (error) {
      throw error instanceof WasmSqliteError && (error.resultCode & 0xff) === SQLITE_AUTH ? refused(error) : error
    } finally {
      judge = null
    }
  }

  function application(pointer: StmtPtr, verdict: Judge): ApplicationStatement {
    const statement = wrap(pointer)
    return {
      run: (params) => judged(verdict, () => statement.run(params)),
      all: (params) => judged(verdict, () => statement.all(params)),
      get isReadOnly() {
        return !verdict.writes
      },
      get sources() {
        return verdict.sources
      },
      columns: () =>
        Array.from({ length: raw.sqlite3_column_count(pointer) }, (_, at) => ({
          name: capi.sqlite3_column_name(pointer, at),
          table: capi.sqlite3_column_table_name(pointer, at),
          column: capi.sqlite3_column_origin_name(pointer, at),
        })),
    }
  }

  const finalizer = (pointer: StmtPtr) => (): void => void capi.sqlite3_finalize(pointer)

  const connection: Sqlite = {
    prepare: (sql) =>
      own.get(sql, () => {
        const pointer = single(sql)
        return { statement: wrap(pointer), finalize: finalizer(pointer) }
      }),
    prepareForApplication: (sql) =>
      applications.get(sql, () => {
        const verdict = new Judge()
        const pointer = judged(verdict, () => single(sql))
        return { statement: application(pointer, verdict), finalize: finalizer(pointer) }
      }),
    interruptWhen(check) {
      interrupts = check
      const steps = check !== null ? STEPS : options.watch ? WATCHED_STEPS : 0
      raw.sqlite3_progress_handler(db, steps, steps === 0 ? 0 : progress, 0)
    },
    exec,
    transaction(work) {
      exec('BEGIN IMMEDIATE')
      try {
        const result = work()
        exec('COMMIT')
        return result
      } catch (error) {
        // On some errors (disk full, I/O) SQLite has ended it by itself.
        if (raw.sqlite3_get_autocommit(db) === 0) exec('ROLLBACK')
        throw error
      }
    },
    define(name, call) {
      const flags = capi.SQLITE_UTF8 | capi.SQLITE_DETERMINISTIC
      const answer = (_: WasmPointer, value: SqlValue): SqlValue => call(value)
      check(
        capi.sqlite3_create_function_v2(
          db,
          name,
          1,
          flags as never,
          0 as never,
          answer as never,
          0 as never,
          0 as never,
          0 as never,
        ),
      )
    },
    close() {
      if (isClosed) return
      isClosed = true
      own.clear()
      applications.clear()
      scratch.free()
      try {
        check(capi.sqlite3_close_v2(db))
      } finally {
        wasm.uninstallFunction(authorizer)
        wasm.uninstallFunction(progress)
      }
    },
  }
  try {
    connection.interruptWhen(null)
    if (options.beginning !== undefined) exec(options.beginning)
  } catch (error) {
    connection.close()
    throw error
  }
  return connection
}
