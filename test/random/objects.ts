import { createHash, createHmac } from 'node:crypto'
import { existsSync } from 'node:fs'
import { copyFile, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { addChecksums } from '../../protocol/checksum.ts'
import { bucketObjectName } from '../../protocol/names.ts'
import { DEFAULT_TENANT } from '../../tenants/single.ts'
import { opIdOf, parseOp, splitOps } from '../../protocol/op-text.ts'
import { canonical, type Contents } from './truth.ts'

/** What local workerd calls the file of an object: its id follows from class and name. */
export function objectId(className: string, name: string): string {
  const key = createHash('sha256').update(`rockpool-${className}`).digest()
  const start = createHmac('sha256', key).update(name).digest().subarray(0, 16)
  return Buffer.concat([start, createHmac('sha256', key).update(start).digest().subarray(0, 16)]).toString('hex')
}

/** Reads an object's storage while workerd uses it: from a copy, because the original is locked by its owner. */
export async function withObject<T>(
  edgeDirectory: string,
  className: string,
  name: string,
  read: (db: DatabaseSync) => T,
): Promise<T | null> {
  const file = join(edgeDirectory, 'do', `rockpool-${className}`, `${objectId(className, name)}.sqlite`)
  if (!existsSync(file)) return null
  const folder = await mkdtemp(join(tmpdir(), 'rockpool-object-'))
  try {
    const copy = join(folder, 'copy.sqlite')
    for (const suffix of ['', '-wal']) if (existsSync(file + suffix)) await copyFile(file + suffix, copy + suffix)
    const db = new DatabaseSync(copy)
    try {
      return read(db)
    } finally {
      db.close()
    }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

export interface Stored {
  contents: Contents
  committed: number
  /** What must never be: I1, I2, I3. */
  problems: string[]
}

/** Every bucket, reduced, from the files of all bucket objects. Call when nothing is under way. */
export async function storedBuckets(edgeDirectory: string): Promise<Stored> {
  const problems: string[] = []
  const contents: Contents = new Map()
  const known = await withObject(edgeDirectory, 'Replicator', DEFAULT_TENANT, (db) => {
    const state = db.prepare("SELECT value FROM state WHERE key = 'commit'").get()
    const commit = JSON.parse(String(state?.value ?? '{"committed":0}')) as { committed: number }
    const names = db.prepare('SELECT name FROM buckets').all()
    return { committed: commit.committed, names: names.map((row) => String(row.name)) }
  })
  if (!known) throw new Error('the replicator has stored nothing')
  const ids = new Map<number, string>()
  for (const name of known.names) {
    const log = await withObject(edgeDirectory, 'Bucket', await bucketObjectName(DEFAULT_TENANT, name), (db) => {
      if (db.prepare("SELECT 1 FROM sqlite_master WHERE name = 'pages'").all().length === 0) return null
      const removed = db.prepare('SELECT removed_ops FROM header').get()?.removed_ops
      const pages = db.prepare('SELECT last_op, total_count, total_checksum, body FROM pages ORDER BY last_op').all()
      return { pages, compacted: removed !== undefined, removed: Number(removed ?? 0) }
    })
    const rows = new Map<string, string>()
    let after = 0
    let count = 0
    let checksum = 0
    for (const page of log?.pages ?? []) {
      for (const text of splitOps(String(page.body))) {
        const id = opIdOf(text)
        const op = parseOp(text)
        if (id <= after) problems.push(`I1: ${name}: op ${id} is stored after ${after}`)
        const other = ids.get(id)
        if (other !== undefined) problems.push(`I1: op ${id} is in ${other} and in ${name}`)
        ids.set(id, name)
        if (id > known.committed)
          problems.push(
            `I2: ${name}: op ${id} is above the checkpoint ${known.committed} although nothing is under way`,
          )
        after = id
        count++
        checksum = addChecksums(checksum, op.checksum)
        if (op.op === 'PUT') rows.set(JSON.stringify([op.object_type, op.object_id, op.subkey]), op.data)
        else if (op.op === 'CLEAR') rows.clear()
        else if (op.op === 'REMOVE') {
          // Compaction may have made a MOVE of the PUT.
          const made = op.object_type === 'rockpool'
          if (!rows.delete(JSON.stringify([op.object_type, op.object_id, op.subkey])) && !log?.compacted && !made)
            problems.push(`${name}: op ${id} removes what is not there`)
        }
      }
      // What compaction took away at the start is counted in the totals for ever.
      if (Number(page.total_count) - (log?.removed ?? 0) !== count || Number(page.total_checksum) !== checksum) {
        problems.push(`I3: ${name}: the totals of page ${page.last_op} are not those of its ops`)
      }
    }
    if (name.startsWith('mailbox') || rows.size === 0) continue
    const bucket = name.slice(name.indexOf('#') + 1)
    contents.set(
      bucket,
      [...(contents.get(bucket) ?? []), ...[...rows.values()].map((data) => canonical(JSON.parse(data)))].sort(),
    )
  }
  return { contents, committed: known.committed, problems }
}
