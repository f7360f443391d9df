import { StatementSync } from 'node:sqlite'
import { workerData } from 'node:worker_threads'

// This generation was made for better-sqlite3, which reads integers of any size as numbers; node:sqlite refuses those
// beyond 2^53, and the SDK keeps 2^63 - 1 in its database while writes wait. So its own worker runs here over a
// node:sqlite that reads as better-sqlite3 does.
const prototype: { all(...parameters: unknown[]): unknown } = StatementSync.prototype
const { all } = prototype
const number = (value: unknown): unknown => (typeof value === 'bigint' ? Number(value) : value)
prototype.all = function (this: StatementSync, ...parameters) {
  this.setReadBigInts(true)
  const rows = all.apply(this, parameters) as (Record<string, unknown> | unknown[])[]
  this.setReadBigInts(false)
  for (const row of rows) {
    if (Array.isArray(row)) for (const [i, value] of row.entries()) row[i] = number(value)
    else for (const [name, value] of Object.entries(row)) row[name] = number(value)
  }
  return rows
}

await import(String(workerData))
