import type { BatchTable } from '../../durable-objects/replicator/ingest/batch.ts'
import type { SourceTable } from '../../sources/source.ts'
import type { SourceRow } from '../../protocol/values.ts'
import type { EvaluatedRow, LoadedPlan } from '../../sync-config/types.ts'

// A small source: items in groups, and members of groups. A user has the items of his groups, found by a lookup. There
// are two plans, which differ in their lookup, their buckets and what is in them.

export interface Change {
  table: 'items' | 'members'
  key: string
  /** Null: deleted. */
  row: Record<string, string> | null
  /** The large value `big` is as it was, so that the stream leaves it out. */
  unsent?: boolean
}
export interface Transaction {
  changes: Change[]
  write: [user: string, client: string, n: number] | null
}

export const TABLES: Record<Change['table'], BatchTable> = {
  items: { number: 1, schema: 'public', name: 'items' },
  members: { number: 2, schema: 'public', name: 'members' },
}

/** As their source describes them. */
export const SOURCE_TABLES: SourceTable[] = Object.values(TABLES).map(({ schema, name }) => ({
  schema,
  name,
  names: [],
  keys: 'id',
  counted: false,
  fingerprint: name,
  progress: ({ block, blocks }) => ({
    done: blocks === 0 ? 1 : Number(block) / Number(blocks),
    units: { done: Number(block), of: Number(blocks) },
  }),
  readImage: (image) => image,
}))

export type PlanHash = 'p' | 'q'
export const PREFIXES: Record<PlanHash, { data: string; lookup: string }> = {
  p: { data: 'g', lookup: 'm' },
  q: { data: 'h', lookup: 'n' },
}

export const outputOf = (hash: PlanHash, row: object) => JSON.stringify(hash === 'p' ? row : { ...row, q: '1' })

/** Rows of both plans, as while one definition replaces another. */
export function evaluate(table: string, row: SourceRow): EvaluatedRow {
  const { id, group, user } = row as Record<string, string>
  const rows = (['p', 'q'] as const).map((hash) => {
    const { data, lookup } = PREFIXES[hash]
    const bucket = table === 'items' ? `${data}[${group}]` : `${lookup}[${user}]`
    return { bucket, definition: hash, objectType: table, objectId: String(id), data: outputOf(hash, row) }
  })
  return { rows, errors: [] }
}

const planOf = (hash: PlanHash): LoadedPlan => ({
  hash,
  definitions: [],
  tables: [],
  reads: () => true,
  columns: () => ({ all: true, read: new Set(), named: new Set() }),
  evaluateRow: (table, row) => evaluate(table.name, row),
  request: ({ claims }) => ({
    resolve(rows) {
      const lookup = `${PREFIXES[hash].lookup}[${String(claims.sub)}]`
      const members = rows(lookup)
      const groups = new Set((members ?? []).map((text): string => (JSON.parse(text) as { group: string }).group))
      const buckets = [...groups].sort().map((group) => ({
        bucket: `${PREFIXES[hash].data}[${group}]`,
        definition: hash,
        priority: 3,
        reasons: [{ default: 0 }],
      }))
      return { lookups: [lookup], need: members ? [] : [lookup], buckets, streams: [] }
    },
  }),
})
export const PLANS: Record<string, LoadedPlan> = { p: planOf('p'), q: planOf('q') }
