import type { Sqlite3Static, WasmPointer } from '@sqlite.org/sqlite-wasm'
import { ShortWrite } from './collected-file.ts'
import type { DatabaseFiles, FileKind } from './database-files.ts'

const ENDS: Readonly<Record<string, FileKind>> = { '': 'database', '-wal': 'wal', '-journal': 'journal' }
const PATH_BYTES = 512
const SECTOR_BYTES = 4_096

/**
 * What a connection to such a file begins with. Exclusive locking comes first: with a WAL in shared memory, which there
 * is none of, SQLite answers CANTOPEN. Size of pages and `auto_vacuum` count where the file is new.
 */
export const BEGINNING = `PRAGMA locking_mode = EXCLUSIVE; PRAGMA temp_store = MEMORY; PRAGMA page_size = 8192; PRAGMA auto_vacuum = INCREMENTAL;
  PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON; PRAGMA cache_size = -16384; PRAGMA wal_autocheckpoint = 1000`

export interface Vfs {
  /** As `sqlite3_open_v2` wants it. */
  readonly name: string
  readonly path: string
  /** What a handle last threw. SQLite has one code for all that a file can do wrong. */
  readonly error: Error | null
  dispose(): void
}

let installed = 0

/**
 * Shows SQLite the files of one database. Temporary files have no place here: the connection sets `temp_store =
 * MEMORY`. There is no shared memory
 * either: `locking_mode = EXCLUSIVE` comes before `journal_mode = WAL`, and nobody else has the handles.
 */
export function installOpfsVfs({ capi, wasm, vfs }: Sqlite3Static, files: DatabaseFiles): Vfs {
  const name = `rockpool-${++installed}`
  const path = 'database'
  const opened = new Map<WasmPointer, FileKind>()
  let last: Error | null = null

  const kindOf = (file: WasmPointer): FileKind => {
    const kind = opened.get(file)
    if (kind === undefined) throw new Error('this file is not open')
    return kind
  }
  const kindOfPath = (zName: WasmPointer): FileKind | undefined => {
    const asked = wasm.cstrToJs(zName)
    return asked?.startsWith(path) === true ? ENDS[asked.slice(path.length)] : undefined
  }
  const bytes = (pointer: WasmPointer, length: number): Uint8Array =>
    wasm.heap8u().subarray(Number(pointer), Number(pointer) + length)

  /** Runs a call of SQLite. Whatever it throws becomes `code`, or says that there is no space. */
  function attempt<Code extends number>(code: Code, work: () => void): 0 | Code | typeof capi.SQLITE_FULL {
    try {
      work()
      return 0
    } catch (error) {
      // What broke the files stays known: every call after it fails.
      if (last === null || error !== files.broken) last = error instanceof Error ? error : new Error(String(error))
      return last.name === 'QuotaExceededError' || last instanceof ShortWrite ? capi.SQLITE_FULL : code
    }
  }

  const io = new capi.sqlite3_io_methods()
  Object.assign(io, { $iVersion: 1 })
  vfs.installVfs({
    io: {
      struct: io,
      methods: {
        xClose: (file) => {
          opened.delete(file)
          return 0
        },
        xRead: (file, into, length, at) => {
          let read = 0
          const code = attempt(capi.SQLITE_IOERR_READ, () => {
            read = files.read(kindOf(file), bytes(into, length), Number(at))
          })
          return code === 0 && read < length ? capi.SQLITE_IOERR_SHORT_READ : code
        },
        xWrite: (file, from, length, at) =>
          attempt(capi.SQLITE_IOERR_WRITE, () => files.write(kindOf(file), bytes(from, length), Number(at))),
        xTruncate: (file, size) =>
          attempt(capi.SQLITE_IOERR_TRUNCATE, () => files.truncate(kindOf(file), Number(size))),
        xSync: (file) => attempt(capi.SQLITE_IOERR_FSYNC, () => files.sync(kindOf(file))),
        xFileSize: (file, size) =>
          attempt(capi.SQLITE_IOERR_FSTAT, () => {
            wasm.poke(size, files.size(kindOf(file)), 'i64')
          }),
        xLock: () => 0,
        xUnlock: () => 0,
        xCheckReservedLock: (_, result) => {
          wasm.poke32(result, 0)
          return 0
        },
        xFileControl: () => capi.SQLITE_NOTFOUND,
        // Typed as result codes, which these two are not.
        xSectorSize: () => SECTOR_BYTES as number as 0,
        // A write that is cut short damages nothing around it. Without this SQLite pads a transaction with copies of
        // its last frame.
        xDeviceCharacteristics: () =>
          (capi.SQLITE_IOCAP_POWERSAFE_OVERWRITE | capi.SQLITE_IOCAP_UNDELETABLE_WHEN_OPEN) as 0,
      },
    },
  })

  const struct = new capi.sqlite3_vfs()
  const preset = new capi.sqlite3_vfs(capi.sqlite3_vfs_find(null as unknown as string) as unknown as WasmPointer)
  Object.assign(struct, {
    $iVersion: 2,
    $szOsFile: (capi.sqlite3_file as unknown as { structInfo: { sizeof: number } }).structInfo.sizeof,
    $mxPathname: PATH_BYTES,
    $xRandomness: (preset as unknown as { $xRandomness: number }).$xRandomness,
  })
  preset.dispose()
  vfs.installVfs({
    vfs: {
      name,
      struct,
      methods: {
        xOpen: (_, zName, file, flags, outFlags) =>
          attempt(capi.SQLITE_CANTOPEN, () => {
            const kind = zName === 0 ? undefined : kindOfPath(zName)
            if (kind === undefined)
              throw new Error(`there is no place for ${zName === 0 ? 'a temporary file' : wasm.cstrToJs(zName)}`)
            opened.set(file, kind)
            const opening = new capi.sqlite3_file(file)
            opening.$pMethods = io.pointer
            opening.dispose()
            wasm.poke32(outFlags, flags)
          }),
        xDelete: (_, zName) =>
          attempt(capi.SQLITE_IOERR_DELETE, () => {
            const kind = kindOfPath(zName)
            if (kind === 'wal' || kind === 'journal') files.remove(kind)
          }),
        xAccess: (_, zName, __, result) =>
          attempt(capi.SQLITE_IOERR_ACCESS, () => {
            const kind = kindOfPath(zName)
            wasm.poke32(result, kind !== undefined && files.exists(kind) ? 1 : 0)
          }),
        xFullPathname: (_, zName, length, out) =>
          wasm.cstrncpy(out, zName, length) < length ? 0 : capi.SQLITE_CANTOPEN,
        // Only this thread has the file, so there is nothing that would pass while it sleeps.
        xSleep: () => 0,
        xCurrentTime: (_, out) => {
          wasm.poke(out, 2_440_587.5 + Date.now() / 86_400_000, 'double')
          return 0
        },
        xCurrentTimeInt64: (_, out) => {
          wasm.poke(out, 210_866_760_000_000 + Date.now(), 'i64')
          return 0
        },
      },
    },
  })

  return {
    name,
    path,
    get error() {
      return last
    },
    dispose() {
      capi.sqlite3_vfs_unregister(struct.pointer)
      struct.dispose()
      io.dispose()
    },
  }
}
