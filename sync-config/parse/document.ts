import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  parseDocument,
  type Document,
  type Node,
  type ParsedNode,
  type Scalar,
  type YAMLMap,
} from 'yaml'
import type { Findings, Range } from './findings.ts'
import { scalarText, type ScalarStyle, type ScalarText } from './scalar.ts'
import { TooMuchWork } from './work.ts'

/** A key of a map with its value. */
export interface Entry {
  name: string
  key: Range
  value: YamlNode
}
export type YamlNode = Node | null

/** The deepest nesting of flow brackets, or of dashes on one line. It is limited because the parser is recursive. */
const MAX_NESTING = 60
/** The longest file, in characters. It holds thousands of streams. */
const MAX_LENGTH = 1_000_000

/** Reads the nodes of a YAML file and reports what is wrong with them. */
export class YamlReader {
  readonly text: string
  readonly findings: Findings

  constructor(text: string, findings: Findings) {
    this.text = text
    this.findings = findings
  }

  /** The root map, or null when the file cannot be read (which is reported). */
  root(): YAMLMap | null {
    if (this.text.length > MAX_LENGTH) {
      this.findings.error('file-too-long', `The file has more than ${MAX_LENGTH} characters.`, [
        MAX_LENGTH,
        MAX_LENGTH + 1,
      ])
      return null
    }
    const deep = tooDeep(this.text)
    if (deep !== null) {
      this.findings.error('yaml-nesting', `more than ${MAX_NESTING} levels of nesting`, [deep, deep + 1])
      return null
    }
    const document = this.#parse()
    if (!document) return null
    for (const error of document.errors) {
      this.findings.error(
        error.code === 'DUPLICATE_KEY' ? 'yaml-duplicate-key' : 'yaml-syntax',
        `YAML: ${error.message}`,
        [error.pos[0], error.pos[1]],
      )
    }
    if (document.errors.length > 0) return null
    if (isMap(document.contents)) return document.contents
    const empty = document.contents === null || (isScalar(document.contents) && document.contents.value === null)
    this.findings.error(
      'yaml-not-a-map',
      `${empty ? 'The file is empty: it' : 'The file'} must be a map with 'bucket_definitions' or 'streams'.`,
      this.range(document.contents),
    )
    return null
  }

  #parse(): Document.Parsed<ParsedNode> | null {
    const { work } = this.findings
    let at: Range = [0, 1]
    let exceeded = false
    const sameKey = (a: unknown, b: Node): boolean => {
      at = this.range(b)
      try {
        work.step('yaml')
      } catch (error) {
        // A flag, because the library replaces any error that is thrown here.
        exceeded = true
        throw error
      }
      return a === b || (isScalar(a) && isScalar(b) && a.value === b.value)
    }
    try {
      for (const _lexeme of new Lexer().lex(this.text)) work.step('yaml')
      const document = parseDocument<ParsedNode>(this.text, {
        schema: 'core',
        version: '1.2',
        strict: true,
        // The library compares each key with every other key of its map.
        uniqueKeys: sameKey,
        merge: false,
        prettyErrors: false,
        // 'silent' would also accept a second document.
        logLevel: 'error',
      })
      if (!exceeded) return document
    } catch (error) {
      if (error instanceof RangeError) {
        this.findings.error('yaml-nesting', 'The file is nested too deeply.', at)
        return null
      }
      if (!(error instanceof TooMuchWork)) throw error
    }
    this.findings.error('yaml-work', 'There are too many keys in one map.', at)
    return null
  }

  range(node: YamlNode | undefined): Range {
    const range = node?.range
    return range ? [range[0], range[1]] : [0, 0]
  }

  /** Returns the entries of a map, or null after reporting an error. */
  map(node: YamlNode, what: string, place?: Range): Entry[] | null {
    if (!isMap(node)) {
      this.findings.error('yaml-type', `${what} must be a map.`, node ? this.range(node) : (place ?? this.range(node)))
      return null
    }
    const entries: Entry[] = []
    for (const pair of node.items) {
      const key = pair.key
      if (!isScalar(key)) {
        this.findings.error('yaml-key', 'Keys must be plain text.', isNode(key) ? this.range(key) : this.range(node))
        continue
      }
      const name = typeof key.value === 'string' ? key.value : (key.source ?? String(key.value))
      entries.push({ name, key: this.range(key), value: isNode(pair.value) ? pair.value : null })
    }
    return entries
  }

  /** Returns the items of a list, or null after reporting an error. */
  list(node: YamlNode, what: string, place: Range): YamlNode[] | null {
    if (!isSeq(node)) {
      this.findings.error('yaml-type', `${what} must be a list.`, node ? this.range(node) : place)
      return null
    }
    return node.items.map((item) => (isNode(item) ? item : null))
  }

  /** Returns an SQL text, or null after reporting an alias or a scalar that is not a string. */
  sql(node: YamlNode, place: Range): ScalarText | null {
    if (isAlias(node)) {
      this.findings.error('yaml-alias', 'Aliases are not resolved here: write the SQL out.', this.range(node))
      return null
    }
    if (!isScalar(node) || node.value === null) {
      this.findings.error('yaml-type', 'One SQL query is expected here.', node ? this.range(node) : place)
      return null
    }
    return this.#scalar(node)
  }

  boolean(entry: Entry): boolean {
    if (isScalar(entry.value) && typeof entry.value.value === 'boolean') return entry.value.value
    this.findings.error(
      'yaml-type',
      `'${entry.name}' must be true or false.`,
      entry.value ? this.range(entry.value) : entry.key,
    )
    return false
  }

  /** Returns an integer in [low, high], or undefined after reporting an error. */
  integer(entry: Entry, low: number, high: number, message: string): number | undefined {
    const value = isScalar(entry.value) ? entry.value.value : undefined
    if (typeof value === 'number' && Number.isInteger(value) && value >= low && value <= high) return value
    this.findings.error(
      entry.name === 'priority' ? 'priority' : 'yaml-value',
      message,
      entry.value ? this.range(entry.value) : entry.key,
    )
    return undefined
  }

  isMap(node: YamlNode): boolean {
    return isMap(node)
  }

  isList(node: YamlNode): boolean {
    return isSeq(node)
  }

  plain(node: YamlNode): unknown {
    return isScalar(node) ? node.value : undefined
  }

  tag(node: YamlNode): string | undefined {
    return node?.tag
  }

  #scalar(node: Scalar): ScalarText {
    const style = styleOf(node.type)
    const range = this.range(node)
    const text = typeof node.value === 'string' ? node.value : (node.source ?? String(node.value))
    return scalarText(this.text, text, style, range)
  }
}

const isNode = (value: unknown): value is Node => isScalar(value) || isMap(value) || isSeq(value) || isAlias(value)

function styleOf(type: string | null | undefined): ScalarStyle {
  switch (type) {
    case 'QUOTE_SINGLE':
    case 'QUOTE_DOUBLE':
    case 'BLOCK_LITERAL':
    case 'BLOCK_FOLDED':
      return type
    default:
      return 'PLAIN'
  }
}

/** Returns the offset of the bracket or dash that opens one level too many, or null. */
function tooDeep(text: string): number | null {
  let depth = 0
  let dashes = 0
  for (let i = 0; i < text.length; i++) {
    const c = text[i]
    if (c === '[' || c === '{') {
      if (++depth > MAX_NESTING) return i
    } else if (c === ']' || c === '}') depth = Math.max(0, depth - 1)
    else if (c === '\n') dashes = 0
    else if ((c === '-' || c === '?' || c === ':') && /\s/.test(text[i + 1] ?? ' ') && ++dashes > MAX_NESTING) return i
  }
  return null
}
