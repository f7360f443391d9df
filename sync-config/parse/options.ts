import type { ValueOptions } from '../../protocol/values.ts'
import { closest, shorten, suggestion } from '../../protocol/closest.ts'
import type { Entry, YamlReader } from './document.ts'
import type { Range } from './findings.ts'

export interface Options {
  edition: 1 | 2 | 3
  timestampsIso8601: boolean
  versionedBucketIds: boolean
  fixedJsonExtract: boolean
  customPostgresTypes: boolean
  maxPrecision: string | undefined
  storageVersion: number | undefined
  /** The place where the SQLite engine is requested. */
  sqliteEngine: Range | undefined
}

const digits: Record<string, number> = { seconds: 0, milliseconds: 3, microseconds: 6, nanoseconds: 9 }
const booleans = [
  'timestamps_iso8601',
  'versioned_bucket_ids',
  'fixed_json_extract',
  'custom_postgres_types',
  'unstable_sqlite_expression_engine',
]

/** Reads the section `config`; defaults follow from the edition. */
export function readOptions(yaml: YamlReader, section: Entry | undefined): Options {
  const entries = section ? (yaml.map(section.value, "'config'", section.key) ?? []) : []
  const find = (name: string): Entry | undefined => entries.find((entry) => entry.name === name)
  const known = ['edition', 'storage_version', 'timestamp_max_precision', ...booleans]
  for (const entry of entries) {
    if (!known.includes(entry.name))
      yaml.findings.error(
        'unknown-option',
        `'${shorten(entry.name)}' is not an option.${suggestion(closest(entry.name, known))} Known: ${known.join(', ')}.`,
        entry.key,
      )
  }
  const editionEntry = find('edition')
  const edition = editionEntry ? (yaml.integer(editionEntry, 1, 3, 'The editions are 1, 2 and 3.') ?? 1) : 1
  const flag = (name: string, fallback: boolean): boolean => {
    const entry = find(name)
    return entry ? yaml.boolean(entry) : fallback
  }
  const options: Options = {
    edition: edition === 3 ? 3 : edition === 2 ? 2 : 1,
    timestampsIso8601: flag('timestamps_iso8601', edition >= 2),
    versionedBucketIds: flag('versioned_bucket_ids', edition >= 2),
    fixedJsonExtract: flag('fixed_json_extract', edition >= 2),
    customPostgresTypes: flag('custom_postgres_types', edition >= 2),
    maxPrecision: undefined,
    storageVersion: undefined,
    sqliteEngine: undefined,
  }
  const engine = find('unstable_sqlite_expression_engine')
  if (engine && flag('unstable_sqlite_expression_engine', false)) {
    if (options.fixedJsonExtract) options.sqliteEngine = engine.key
    else
      yaml.findings.error(
        'sqlite-engine',
        "'unstable_sqlite_expression_engine' needs `fixed_json_extract: true`. Remove the option.",
        engine.key,
      )
  }
  const precision = find('timestamp_max_precision')
  if (precision) readPrecision(yaml, precision, options)
  const storage = find('storage_version')
  if (storage) {
    options.storageVersion = yaml.integer(storage, 2, 4, "'storage_version' must be 2 or 3; it has no effect here.")
    if ((options.storageVersion ?? 0) > 2)
      yaml.findings.warning('storage-version', 'This storage version is unstable.', yaml.range(storage.value))
  }
  return options
}

function readPrecision(yaml: YamlReader, entry: Entry, options: Options): void {
  const value = yaml.plain(entry.value)
  if (typeof value !== 'string' || !(value in digits)) {
    yaml.findings.error(
      'timestamp-precision',
      `'timestamp_max_precision' must be one of ${Object.keys(digits).join(', ')}.`,
      entry.value ? yaml.range(entry.value) : entry.key,
    )
  } else if (!options.timestampsIso8601) {
    yaml.findings.error('timestamp-precision', "'timestamp_max_precision' needs `timestamps_iso8601: true`.", entry.key)
  } else {
    options.maxPrecision = value
  }
}

export const valueOptions = (options: Options): ValueOptions => ({
  timestampsIso8601: options.timestampsIso8601,
  ...(options.maxPrecision === undefined ? {} : { timestampDigits: digits[options.maxPrecision] ?? 6 }),
  customPostgresTypes: options.customPostgresTypes,
})
