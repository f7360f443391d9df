import { readdirSync, readFileSync } from 'node:fs'
import { compileConfig } from './compile.ts'
import { evaluateCase } from './cases/case.ts'
import { jsonText, parseJson, type Json } from './expressions/json.ts'
import { textHash } from './plan/hash.ts'
import { bucketPrefix, contentOf } from './plan/plan.ts'

// Which buckets the configs of `fixtures/cases` have, and what is in them. By hand, in a checkout of the version to be
// recorded: `node sync-config/test-bucket-bytes.ts > test-bucket-bytes.json`.

export interface Buckets {
  /** What the names of buckets and lookups begin with. */
  names: string[]
  /** Hashes of what the rows are in which of them, and of what the requests get. */
  rows: string
  requests: string
}

const cases = new URL('./fixtures/cases/', import.meta.url)

/** By the file of the case, as a deployed config behaves. Configs that are refused are left out. */
export function bucketsOfCases(): Record<string, Buckets> {
  const out: Record<string, Buckets> = {}
  for (const file of readdirSync(cases).sort()) {
    const text = readFileSync(new URL(file, cases), 'utf8')
    const compiled = compileConfig(JSON.parse(text).yaml)
    if (!compiled.ok) continue
    const { definitions, lookups } = contentOf(compiled.plan)
    const result = parseJson(evaluateCase(text, { copyTraps: false }))
    // An output that is told twice is one row of the bucket.
    const rows = [...listOf(member(result, 'data')), ...listOf(member(result, 'lookups'))].map((outputs) =>
      [
        ...new Set(
          listOf(outputs)
            .filter((output) => !isFailure(output))
            .map((output) => jsonText(output)),
        ),
      ].sort(),
    )
    const requests = listOf(member(result, 'buckets')).map((request) =>
      ['buckets', 'synced', 'performed_lookups'].map((name) =>
        listOf(member(request, name))
          .map((item) => jsonText(item))
          .sort(),
      ),
    )
    out[file] = {
      names: [...definitions, ...lookups].map(bucketPrefix),
      rows: textHash(JSON.stringify(rows)),
      requests: textHash(JSON.stringify(requests)),
    }
  }
  return out
}

const isObject = (value: Json): value is { [name: string]: Json } =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
const member = (value: Json, name: string): Json => (isObject(value) ? (value[name] ?? null) : null)
const listOf = (value: Json): Json[] => (Array.isArray(value) ? value : [])
/** Messages are not what this is about. */
const isFailure = (value: Json): boolean => isObject(value) && ('error' in value || 'row_error' in value)

if (process.argv[1]?.endsWith('test-bucket-bytes.ts')) console.log(JSON.stringify(bucketsOfCases(), null, 2))
