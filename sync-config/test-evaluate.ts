import { compileConfig } from './compile.ts'
import { evaluateCase } from './cases/case.ts'

/** Small configs with rows and requests, for tests: which rows a client ends up with, as a deployed config has it. */

export interface Asking {
  jwt: Record<string, unknown>
  parameters?: Record<string, unknown>
  subscriptions?: { stream: string; parameters?: Record<string, unknown> }[]
}
/** Rows of the tables; values as in the cases of `fixtures`, `{ $json: text }` for a json column. */
export type Tables = Readonly<Record<string, readonly Record<string, unknown>[]>>

interface Answer {
  error?: string
  errors: { definition: string; message: string }[]
  buckets: { bucket: string }[]
  synced: { table: string; id: string }[]
}
interface Result {
  valid: boolean
  errors: { code: string; source: string }[]
  data: ({ table: string; id: string; data: Record<string, unknown> } | { error: string })[][]
  buckets: Answer[]
}

export function evaluated(yaml: string, tables: Tables, requests: Asking[], copyTraps = false): Result {
  const rows = Object.entries(tables).flatMap(([table, records]) => records.map((record) => ({ table, record })))
  const result: Result = JSON.parse(evaluateCase(JSON.stringify({ yaml, rows, requests }), { copyTraps }))
  if (!result.valid) throw new Error(`refused: ${JSON.stringify(result.errors)}\n${yaml}`)
  return result
}

/** Ids of the rows that one client ends up with, in order. */
export function synced(yaml: string, tables: Tables, request: Asking): string[] {
  const [answer] = evaluated(yaml, tables, [request]).buckets
  if (!answer || answer.error !== undefined) throw new Error(`the request fails: ${answer?.error}`)
  return [...new Set(answer.synced.map(({ id }) => id))].sort()
}

/** Names of the streams and definitions that could not be evaluated for the client. */
export const failing = (yaml: string, tables: Tables, request: Asking): string[] =>
  evaluated(yaml, tables, [request]).buckets.flatMap(({ errors }) => errors.map(({ definition }) => definition))

/** A bucket definition; `parameters` null = none. */
export const definition = (parameters: string | null, data: string, edition = 1): string =>
  `config: {edition: ${edition}}\nbucket_definitions:\n  b:\n${parameters === null ? '' : `    parameters: ${JSON.stringify(parameters)}\n`}    data: [${JSON.stringify(data)}]\n`

/** A stream that needs no subscription. */
export const stream = (query: string, edition = 3): string =>
  `config: {edition: ${edition}}\nstreams:\n  s:\n    auto_subscribe: true\n    query: ${JSON.stringify(query)}\n`

/** Codes of all errors and warnings; that edition 2 is an early form is not repeated everywhere. */
export function codes(yaml: string): string[] {
  const result = compileConfig(yaml)
  return [...(result.ok ? [] : result.errors), ...result.warnings]
    .map(({ code }) => code)
    .filter((code) => code !== 'alpha-streams')
}
