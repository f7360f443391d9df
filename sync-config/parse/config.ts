import { closest, shorten, suggestion } from '../../protocol/closest.ts'
import type { Entry, YamlNode, YamlReader } from './document.ts'
import type { Range } from './findings.ts'
import { readOptions, type Options } from './options.ts'
import type { ScalarText } from './scalar.ts'
import { isService, reportService } from './service.ts'

export interface BucketDefinitionText {
  name: string
  key: Range
  /** Null when there are none: one bucket for everybody. */
  parameters: { sql: ScalarText; tagged: boolean }[] | null
  data: ScalarText[]
  priority: number | undefined
  acceptDangerous: boolean
}

export interface CteText {
  name: string
  key: Range
  sql: ScalarText
}

export interface StreamText {
  name: string
  key: Range
  queries: ScalarText[]
  with: CteText[]
  autoSubscribe: boolean
  priority: number | undefined
  acceptDangerous: boolean
}

export interface EventText {
  name: string
  key: Range
  payloads: ScalarText[]
}

/** A sync config as it is written: its structure is checked, its SQL is not parsed yet. */
export interface ConfigText {
  options: Options
  buckets: BucketDefinitionText[]
  streams: StreamText[]
  with: CteText[]
  events: EventText[]
}

const SECTIONS = ['bucket_definitions', 'streams', 'with', 'event_definitions', 'config']
const PRIORITY = 'Invalid priority: write a whole number from 0 (first) to 3.'

/** Reads the structure of the file. Returns null when it is too broken to check its SQL. */
export function readConfig(yaml: YamlReader): ConfigText | null {
  const root = yaml.root()
  if (!root) return null
  const entries = yaml.map(root, 'The file') ?? []
  if (!entries.some(({ name }) => SECTIONS.includes(name)) && isService(entries)) {
    reportService(yaml, entries)
    return null
  }
  const find = (name: string): Entry | undefined => entries.find((entry) => entry.name === name)
  refuseUnknown(yaml, entries, SECTIONS, 'the file')
  const options = readOptions(yaml, find('config'))
  const buckets = find('bucket_definitions')
  const streams = find('streams')
  const edition = options.edition
  const misspelt = entries.some(({ name }) => ['bucket_definitions', 'streams'].includes(closest(name, SECTIONS) ?? ''))
  if (!buckets && !streams && !misspelt)
    yaml.findings.error('nothing-defined', "'bucket_definitions' or 'streams' is required.", [0, 1])
  if (buckets && edition >= 3) {
    yaml.findings.error(
      'buckets-in-edition-3',
      "'bucket_definitions' belong to editions 1 and 2. Rewrite them as streams, or set `edition: 2`.",
      buckets.value ? yaml.range(buckets.value) : buckets.key,
    )
  } else if (!streams && !misspelt && edition >= 3) {
    yaml.findings.error('streams-required', "Edition 3 needs 'streams'.", [0, 1])
  }
  const ctes = find('with')
  if (ctes && edition < 3) yaml.findings.error('with-before-edition-3', "'with' needs edition 3.", ctes.key)
  const config: ConfigText = {
    options,
    buckets: buckets ? collect(yaml, buckets, (entry) => readBucket(yaml, entry)) : [],
    streams: streams ? collect(yaml, streams, (entry) => readStream(yaml, entry, edition)) : [],
    with: ctes && edition >= 3 ? readCtes(yaml, ctes) : [],
    events: [],
  }
  const events = find('event_definitions')
  if (events) config.events = collect(yaml, events, (entry) => readEvent(yaml, entry))
  const names = new Set(config.buckets.map((bucket) => bucket.name))
  for (const stream of config.streams) {
    if (names.has(stream.name))
      yaml.findings.error(
        'duplicate-name',
        `The name '${stream.name}' is already used by a bucket definition.`,
        stream.key,
      )
  }
  if (streams && edition < 2) {
    const place = config.streams[0]?.queries[0]?.range ?? streams.key
    yaml.findings.error('streams-in-edition-1', 'Streams need edition 2 or later: add `config: {edition: 3}`.', place)
  }
  if (streams && edition === 2 && config.streams.length > 0) {
    yaml.findings.warning(
      'alpha-streams',
      'These are streams of edition 2, an early form. Set `edition: 3` for joins, CTEs and several queries.',
      yaml.range(streams.value),
    )
  }
  return config
}

const collect = <T>(yaml: YamlReader, section: Entry, read: (entry: Entry) => T | null): T[] =>
  (yaml.map(section.value, `'${section.name}'`, section.key) ?? []).map(read).filter((item) => item !== null)

function unknownKey(name: string, where: string, known: readonly string[]): string {
  return `'${shorten(name)}' is not a key of ${where}.${suggestion(closest(name, known))} Known: ${known.join(', ')}.`
}

function refuseUnknown(yaml: YamlReader, entries: Entry[], known: string[], where: string): void {
  for (const entry of entries) {
    if (!known.includes(entry.name)) {
      yaml.findings.error('unknown-key', unknownKey(entry.name, where, known), entry.key)
    }
  }
}

const TAG = '!accept_potentially_dangerous_queries'

function readBucket(yaml: YamlReader, { name, key, value }: Entry): BucketDefinitionText | null {
  const entries = yaml.map(value, `'${name}'`, key)
  if (!entries) return null
  refuseUnknown(
    yaml,
    entries,
    ['parameters', 'data', 'priority', 'accept_potentially_dangerous_queries'],
    'a bucket definition',
  )
  const out: BucketDefinitionText = {
    name,
    key,
    parameters: null,
    data: [],
    priority: undefined,
    acceptDangerous: false,
  }
  const data = entries.find((entry) => entry.name === 'data')
  if (!data) yaml.findings.error('data-missing', `'data', a list of queries, is required.`, key)
  for (const entry of entries) {
    if (entry.name === 'data') out.data = readQueries(yaml, entry).map((query) => query.sql)
    if (entry.name === 'priority') out.priority = yaml.integer(entry, 0, 3, PRIORITY)
    if (entry.name === 'accept_potentially_dangerous_queries') out.acceptDangerous = yaml.boolean(entry)
    if (entry.name === 'parameters') {
      out.parameters = yaml.isList(entry.value) ? readQueries(yaml, entry) : one(yaml, entry)
      if (out.parameters.length === 0 && yaml.isList(entry.value)) {
        yaml.findings.error(
          'parameters-empty',
          "'parameters' is empty: remove it for one bucket that everybody has, or add a query.",
          entry.key,
        )
      }
    }
  }
  return out
}

function one(yaml: YamlReader, { value, key }: Entry): { sql: ScalarText; tagged: boolean }[] {
  const sql = yaml.sql(value, key)
  return sql ? [{ sql, tagged: yaml.tag(value) === TAG }] : []
}

function readQueries(yaml: YamlReader, entry: Entry): { sql: ScalarText; tagged: boolean }[] {
  const items: YamlNode[] = yaml.list(entry.value, `'${entry.name}'`, entry.key) ?? []
  return items.flatMap((item) => {
    const sql = yaml.sql(item, entry.key)
    return sql ? [{ sql, tagged: yaml.tag(item) === TAG }] : []
  })
}

function readStream(yaml: YamlReader, { name, key, value }: Entry, edition: number): StreamText | null {
  const entries = yaml.map(value, `'${name}'`, key)
  if (!entries) return null
  const out: StreamText = {
    name,
    key,
    queries: [],
    with: [],
    autoSubscribe: false,
    priority: undefined,
    acceptDangerous: false,
  }
  const known = ['query', 'queries', 'with', 'auto_subscribe', 'priority', 'accept_potentially_dangerous_queries']
  for (const entry of entries) {
    if (entry.name === 'query') out.queries.push(...one(yaml, entry).map((query) => query.sql))
    if (entry.name === 'queries' && edition >= 3)
      out.queries.push(...readQueries(yaml, entry).map((query) => query.sql))
    if (entry.name === 'auto_subscribe') out.autoSubscribe = yaml.boolean(entry)
    if (entry.name === 'priority') out.priority = yaml.integer(entry, 0, 3, PRIORITY)
    if (entry.name === 'accept_potentially_dangerous_queries') out.acceptDangerous = yaml.boolean(entry)
    if (entry.name === 'with' && edition >= 3) out.with = readCtes(yaml, entry)
    if ((entry.name === 'queries' || entry.name === 'with') && edition < 3) {
      yaml.findings.error(`${entry.name}-before-edition-3`, `'${entry.name}' needs edition 3.`, entry.key)
    }
    if (!known.includes(entry.name)) {
      yaml.findings.warning('unknown-key', unknownKey(entry.name, 'a stream, so it has no effect', known), entry.key)
    }
  }
  const given = entries.filter((entry) => entry.name === 'query' || entry.name === 'queries').length
  if (given !== 1) yaml.findings.error('query-or-queries', "A stream needs exactly one of 'query' and 'queries'.", key)
  return out
}

function readCtes(yaml: YamlReader, entry: Entry): CteText[] {
  return collect(yaml, entry, ({ name, key, value }) => {
    const sql = yaml.sql(value, key)
    return sql && { name, key, sql }
  })
}

function readEvent(yaml: YamlReader, { name, key, value }: Entry): EventText | null {
  const entries = yaml.map(value, `'${name}'`, key)
  if (!entries) return null
  const payloads = entries.find((entry) => entry.name === 'payloads')
  if (!payloads) yaml.findings.error('event-payloads', "'payloads', a list of queries, is required.", key)
  return { name, key, payloads: payloads ? readQueries(yaml, payloads).map((query) => query.sql) : [] }
}
