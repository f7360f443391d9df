import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { moveText, opChecksumOf, opIdOf, parseOp, splitOps, opText } from '../../protocol/op-text.ts'
import { bucketObjectName } from '../../protocol/names.ts'
import { DEFAULT_TENANT } from '../../tenants/single.ts'
import type { RowOp } from '../../protocol/ops.ts'
import { objectId } from '../random/objects.ts'

// Damages stored data, in the files of objects while nothing runs, as no fault of ours ever should.

/** Changes the storage of an object while workerd does not run. */
export const damage = <T>(edgeDirectory: string, className: string, name: string, work: (db: DatabaseSync) => T): T =>
  opened(edgeDirectory, className, name, work, false)

/** Reads the storage of an object, also while workerd runs. A connection that may write could block it. */
export const look = <T>(edgeDirectory: string, className: string, name: string, work: (db: DatabaseSync) => T): T =>
  opened(edgeDirectory, className, name, work, true)

function opened<T>(
  edgeDirectory: string,
  className: string,
  name: string,
  work: (db: DatabaseSync) => T,
  readOnly: boolean,
): T {
  const file = join(edgeDirectory, 'do', `rockpool-${className}`, `${objectId(className, name)}.sqlite`)
  if (!existsSync(file)) throw new Error(`there is no ${className} ${name}`)
  const db = new DatabaseSync(file, { readOnly })
  try {
    return work(db)
  } finally {
    db.close()
  }
}

/** Returns the replicator's number of a bucket. */
export function bucketNumber(edgeDirectory: string, bucket: string): number {
  return damage(edgeDirectory, 'Replicator', DEFAULT_TENANT, (db) =>
    Number(db.prepare('SELECT number FROM buckets WHERE name = ?').get(bucket)?.number),
  )
}

/** Changes the stored outputs of a row, or with null deletes its row state. */
export function damageRow(
  edgeDirectory: string,
  table: string,
  key: string,
  change: (outputs: [bucket: number, hash: string][]) => unknown[] | null,
): void {
  damage(edgeDirectory, 'Replicator', DEFAULT_TENANT, (db) => {
    const t = Number(db.prepare('SELECT number FROM tables WHERE name = ?').get(table)?.number)
    const row = db.prepare('SELECT outputs FROM rows WHERE t = ? AND key = ?').get(t, key)
    const outputs = change(JSON.parse(String(row?.outputs ?? '[]')) as [number, string][])
    db.prepare('DELETE FROM rows WHERE t = ? AND key = ?').run(t, key)
    if (outputs) db.prepare('INSERT INTO rows VALUES (?, ?, ?, NULL)').run(t, key, JSON.stringify(outputs))
  })
}

/** Changes the text of the last op of a row in a bucket, or with null removes it. The totals stay. */
export async function damageOp(
  edgeDirectory: string,
  bucket: string,
  id: string,
  change: (text: string) => string | null,
): Promise<void> {
  damage(edgeDirectory, 'Bucket', await bucketObjectName(DEFAULT_TENANT, bucket), (db) => {
    for (const page of db.prepare('SELECT last_op, body FROM pages ORDER BY last_op DESC').all()) {
      const texts = splitOps(String(page.body))
      const at = texts.findLastIndex((text) => putOf(text, id))
      const text = texts[at]
      if (text === undefined) continue
      const changed = change(text)
      const body = texts.flatMap((each, i) => (i !== at ? [each] : changed === null ? [] : [changed])).join(',')
      db.prepare('UPDATE pages SET body = ? WHERE last_op = ?').run(body, Number(page.last_op))
      return
    }
    throw new Error(`${bucket} has no such op`)
  })
}

function putOf(text: string, id: string): boolean {
  const op = parseOp(text)
  return op.op === 'PUT' && op.object_id === id
}

/** Makes a MOVE of an op, as compaction does, so that the sums still match. */
export const lostOp = (text: string): string => moveText(text)

/** Puts an op in place of that of a removed row. The sums match, because clients only add checksums. */
export async function strayOp(
  edgeDirectory: string,
  bucket: string,
  removed: string,
  op: Omit<RowOp, 'checksum'>,
): Promise<void> {
  await damageOp(edgeDirectory, bucket, removed, (text) =>
    opText(opIdOf(text), { ...op, checksum: opChecksumOf(text) }),
  )
}

/** Changes what a bucket announces, without changing its ops. */
export async function damageTotals(edgeDirectory: string, bucket: string): Promise<void> {
  damage(edgeDirectory, 'Bucket', await bucketObjectName(DEFAULT_TENANT, bucket), (db) =>
    db.exec('UPDATE pages SET total_checksum = total_checksum + 1 WHERE last_op = (SELECT max(last_op) FROM pages)'),
  )
}
