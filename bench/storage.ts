import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

export interface BucketLog {
  ops: number
  bytes: number
  pages: number
  /** True when a compaction has ended, and there is nothing new for another one. */
  compacted: boolean
}

const folderOf = (directory: string, name: string): string => join(directory, 'do', `rockpool-${name}`)
/** Waits for workerd, which may be writing the file. */
const READING = { readOnly: true, timeout: 5_000 }
const isDatabase = (file: string): boolean => /^[0-9a-f]{64}\.sqlite$/.test(file)

/** Returns the logs of all buckets that are not empty, from their files. */
export function bucketLogs(directory: string): BucketLog[] {
  const folder = folderOf(directory, 'Bucket')
  if (!existsSync(folder)) return []
  return readdirSync(folder)
    .filter(isDatabase)
    .flatMap((file) => {
      const db = new DatabaseSync(join(folder, file), READING)
      try {
        if (db.prepare("select 1 from sqlite_master where name = 'header'").all().length === 0) return []
        const [pages] = db
          .prepare(
            'select count(*) as n, total(count) as ops, total(bytes) as bytes, max(total_bytes) as all_bytes from pages',
          )
          .all()
        const [header] = db.prepare('select progress, done_bytes from header').all()
        const compacted =
          header !== undefined && header.progress === null && Number(header.done_bytes) > Number(pages?.all_bytes) / 2
        return [{ ops: Number(pages?.ops), bytes: Number(pages?.bytes), pages: Number(pages?.n), compacted }]
      } finally {
        db.close()
      }
    })
}

/** Returns the size of the databases of all objects of a class, in bytes. */
export function storedBytes(directory: string, name: 'Bucket' | 'Relay' | 'Replicator'): number {
  const folder = folderOf(directory, name)
  if (!existsSync(folder)) return 0
  return readdirSync(folder)
    .filter(isDatabase)
    .reduce((sum, file) => {
      const db = new DatabaseSync(join(folder, file), READING)
      try {
        const [row] = db
          .prepare('select page_count * page_size as bytes from pragma_page_count, pragma_page_size')
          .all()
        return sum + Number(row?.bytes)
      } finally {
        db.close()
      }
    }, 0)
}
