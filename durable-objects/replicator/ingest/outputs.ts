import { hash64 } from '../../../protocol/hash.ts'
import { strongHash } from '../../../protocol/strong-hash.ts'
import type { TableName } from '../../../protocol/tables.ts'
import type { Output, RowState } from '../store/row-state.ts'

// What a row has put into buckets, compared with what it puts there now.

/** The same for a PUT and its REMOVE; it tells source rows apart that yield the same type and id. */
export const subkeyOf = (table: TableName, key: string): string => strongHash(`${table.schema}.${table.name}.${key}`)
/** That of rows which an older version has put into a bucket. */
export const weakSubkeyOf = (table: TableName, key: string): string => hash64(`${table.schema}.${table.name}.${key}`)

/** The subkeys of a row: each is made when it is first needed. */
export function subkeys(table: TableName, key: string): (output: Output) => string {
  let strong: string | undefined
  return ({ weakSubkey }) => (weakSubkey ? weakSubkeyOf(table, key) : (strong ??= subkeyOf(table, key)))
}

const outputText = ({ bucket, type, id }: Output) => `${bucket} ${type.length} ${type} ${id}`
const sameOutput = (a: Output, b: Output) => a.bucket === b.bucket && a.id === b.id && a.type === b.type

/** So many are compared one by one: names for them take longer to make. */
const FEW_OUTPUTS = 4

/** Finds the output of the same bucket, type and id. */
export function finder(outputs: readonly Output[]): (like: Output) => Output | undefined {
  if (outputs.length <= FEW_OUTPUTS) return (like) => outputs.find((output) => sameOutput(output, like))
  const byText = new Map(outputs.map((output) => [outputText(output), output]))
  return (like) => byText.get(outputText(like))
}

export function sameState(a: RowState | null, b: RowState): boolean {
  if (a === null) return b.outputs.length === 0 && b.image === null
  const { outputs, image, copies } = b
  if (a.copies !== copies || a.outputs.length !== outputs.length) return false
  const same = a.outputs.every((output, i) => {
    const other = outputs[i]
    return (
      other !== undefined &&
      sameOutput(output, other) &&
      output.hash === other.hash &&
      output.weakSubkey === other.weakSubkey
    )
  })
  return same && (a.image === image || JSON.stringify(a.image) === JSON.stringify(image))
}
