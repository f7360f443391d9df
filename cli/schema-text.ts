import type { DeviceColumn, DeviceTable } from './device-tables.ts'

/** The client accepts these names. `id` has been left out before. */
const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/
const RESERVED = /^(rp_|sqlite_)/i

/** Returns the module that `rockpool types` writes. `from`: the file of the sync config, for its first line. */
export function schemaText(tables: readonly DeviceTable[], from: string): string {
  const body = tables.flatMap(tableLines)
  const kinds = tables.flatMap(({ columns }) => columns.map(({ kind }) => kind))
  const used = [...new Set(kinds)].filter((kind) => body.some((line) => line.includes(`: ${kind}()`)))
  return [
    `// Written by \`rockpool types ${from}\`. Write it again when the sync config or the database changes.`,
    `import { ${[...used, 'defineSchema', 'table'].sort().join(', ')}, type DatabaseOf } from '@rockpool/client/schema'`,
    '',
    'export const schema = defineSchema({',
    ...body,
    '})',
    '',
    "/** Rows by their tables: `Rows['todos']`. */",
    'export type Rows = DatabaseOf<typeof schema>',
    '',
  ].join('\n')
}

/** A table or a column that a device cannot have becomes a comment. */
function tableLines({ name, columns }: DeviceTable): string[] {
  if (!NAME.test(name) || RESERVED.test(name))
    return [`  // ${quoted(name)} cannot be the name of a table on a device: name it with AS in the sync config.`]
  if (!columns.some((column) => NAME.test(column.name)))
    return [`  // ${name} has no column beside id, which a table on a device needs.`]
  return [`  ${property(name)}: table({`, ...columns.map(columnLine), '  }),']
}

function columnLine(column: DeviceColumn): string {
  if (!NAME.test(column.name))
    return `    // ${quoted(column.name)} cannot be the name of a column on a device: name it with AS in the sync config.`
  const note = column.note === null ? '' : ` // ${column.note.replace(/\s/g, ' ')}`
  return `    ${property(column.name)}: ${columnText(column)},${note}`
}

function columnText({ kind, nullable, preset }: DeviceColumn): string {
  const given = preset === null ? null : presetText(kind, preset)
  return `${kind}()${nullable ? '.nullable()' : ''}${given === null ? '' : `.default(${given})`}`
}

/**
 * Returns what an insert on a device stores in place of a default of Postgres, or null where only Postgres can say it.
 */
function presetText(kind: DeviceColumn['kind'], preset: string): string | null {
  if (kind === 'boolean' && /^(true|false)$/.test(preset)) return preset
  if (kind === 'timestamp' && /^(now\(\)|CURRENT_TIMESTAMP)$/i.test(preset)) return '() => new Date().toISOString()'
  if (preset === 'gen_random_uuid()' && kind === 'text') return '() => crypto.randomUUID()'
  const number = /^'?(-?\d+(?:\.\d+)?)'?(?:::[\w ]+)?$/.exec(preset)?.[1]
  if (number !== undefined && (kind === 'real' || (kind === 'integer' && !number.includes('.')))) return number
  if (number !== undefined && kind === 'bigint' && !number.includes('.')) return `${number}n`
  if (kind === 'json') return jsonText(preset)
  if (kind !== 'text') return null
  const literal = /^'((?:[^'\\]|'')*)'::[\w ".]+(?:\([\d,]+\))?$/.exec(preset)?.[1]?.replaceAll("''", "'") ?? number
  return literal === undefined ? null : quoted(literal)
}

/** An empty array, or a value of JSON. */
function jsonText(preset: string): string | null {
  if (/^'\{\}'::.+\[\]$/.test(preset)) return '() => []'
  const text = /^'((?:[^'\\]|'')*)'::jsonb?$/.exec(preset)?.[1]?.replaceAll("''", "'")
  if (text === undefined) return null
  try {
    return `() => (${JSON.stringify(JSON.parse(text))})`
  } catch {
    return null
  }
}

/** `__proto__` alone would not be a property of its own. */
const property = (name: string): string => (name === '__proto__' ? "['__proto__']" : name)

const quoted = (text: string): string =>
  `'${JSON.stringify(text).slice(1, -1).replaceAll('\\"', '"').replaceAll("'", "\\'")}'`
