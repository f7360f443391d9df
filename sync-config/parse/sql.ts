import type { Expr as SqlExpr, PGNode, SelectFromStatement, Statement } from 'pgsql-ast-parser'
import type { FindingCode } from './codes.ts'
import type { Findings, Range } from './findings.ts'
import { parseSql } from './parser.ts'
import type { ScalarText } from './scalar.ts'
import { TooMuchWork, type Work } from './work.ts'

export type { SqlExpr, SelectFromStatement }

/**
 * The longest query, in characters. The cost of the parser grows faster than the text. Real queries have a few hundred
 * characters.
 */
const MAX_LENGTH = 10_000
const MAX_NESTING = 30

/** The message of the code `id-missing`. */
export const NO_ID = 'The query must return a column named id: add it, or `… AS id`.'

/** One SQL text, whose findings are placed in the YAML file. */
export class Sql {
  readonly source: ScalarText
  readonly #findings: Findings

  constructor(source: ScalarText, findings: Findings) {
    this.source = source
    this.#findings = findings
  }

  get work(): Work {
    return this.#findings.work
  }

  range(node: PGNode | undefined): Range {
    const location = node?._location
    return location ? this.source.map([location.start, location.end]) : this.whole
  }

  /** Returns the SQL of a node as written. */
  slice(node: PGNode): string {
    return node._location ? this.source.text.slice(node._location.start, node._location.end) : ''
  }

  get whole(): Range {
    return this.source.text === '' ? this.source.range : this.source.map([0, this.source.text.trimEnd().length])
  }

  error(code: FindingCode, message: string, node?: PGNode): void {
    this.#findings.error(code, message, this.range(node))
  }

  warning(code: FindingCode, message: string, node?: PGNode): void {
    this.#findings.warning(code, message, this.range(node))
  }

  errorAt(code: FindingCode, message: string, start: number, end: number): void {
    this.#findings.error(code, message, this.source.map([start, end]))
  }

  /**
   * Returns the one SELECT of this text, or null after reporting an error. With `lenient`, DISTINCT and further
   * statements are ignored (compiled streams).
   */
  select(lenient: boolean): SelectFromStatement | null {
    const statements = this.#parse()
    if (!statements) return null
    const [first] = statements
    if (!first || (statements.length > 1 && !lenient)) {
      this.error('one-select', 'Write exactly one SELECT statement.')
      return null
    }
    if (first.type !== 'select') {
      this.error(
        'not-a-select',
        first.type === 'union' || first.type === 'union all'
          ? 'UNION is not supported: write several queries.'
          : 'Only SELECT statements are supported.',
        first,
      )
      return null
    }
    return this.clauses(first, lenient) ? first : null
  }

  /** Refuses clauses that no edition supports. */
  clauses(select: SelectFromStatement, lenient: boolean): boolean {
    const clauses: [string, unknown, PGNode | undefined][] = [
      ['GROUP BY', select.groupBy, select.groupBy?.[0]],
      ['HAVING', select.having, select.having ?? undefined],
      ['ORDER BY', select.orderBy, select.orderBy?.[0]],
      ['LIMIT', select.limit, select.limit ?? undefined],
      ['FOR', select.for, select.for],
      ['SKIP', select.skip, undefined],
      ['DISTINCT', lenient ? undefined : select.distinct, undefined],
    ]
    const used = clauses.filter(([, clause]) => clause !== undefined && clause !== null)
    for (const [name, , node] of used) this.error('unsupported-clause', `${name} is not supported.`, node ?? select)
    return used.length === 0
  }

  #parse(): Statement[] | null {
    const text = this.source.text
    if (text.length > MAX_LENGTH) {
      this.errorAt('sql-too-long', `The query is longer than ${MAX_LENGTH} characters.`, 0, 1)
      return null
    }
    const deep = nestedTooDeep(text)
    if (deep !== null) {
      this.errorAt('sql-nesting', `The query is nested deeper than ${MAX_NESTING} levels.`, deep, deep + 1)
      return null
    }
    try {
      return parseSql(text, this.work)
    } catch (error) {
      this.#syntaxError(error)
      return null
    }
  }

  #syntaxError(error: unknown): void {
    if (error instanceof TooMuchWork) {
      return this.errorAt(
        'sql-work',
        'This SQL takes too much work to read: it can be read in too many ways. Split it.',
        0,
        this.source.text.length,
      )
    }
    const message = error instanceof Error ? error.message : String(error)
    if (error instanceof RangeError) return this.errorAt('sql-nesting', 'The query is nested too deeply.', 0, 1)
    const [headline = message] = message.split('\n')
    const unexpected = /^Unexpected [^.]*/m.exec(message)?.[0] ?? headline
    const where = /at line (\d+) col (\d+)/.exec(headline)
    let at = 0
    if (where) {
      const lines = this.source.text.split('\n')
      at = lines.slice(0, Number(where[1]) - 1).reduce((sum, line) => sum + line.length + 1, 0) + Number(where[2]) - 1
    }
    // At the end there is no token to point at, so it points after the last word.
    if (unexpected.includes('end of input')) at = this.source.text.trimEnd().length
    const offset = tokenOffset(error)
    const [start, end] = offset ?? [Math.max(0, Math.min(at, this.source.text.length) - 1), at]
    const ambiguous = message.includes('Ambiguous')
    this.errorAt(
      'sql-syntax',
      ambiguous ? 'This SQL can be read in more than one way and is not supported.' : `SQL syntax error: ${unexpected}`,
      ambiguous ? 0 : start,
      ambiguous ? this.source.text.length : end,
    )
  }
}

function tokenOffset(error: unknown): [number, number] | null {
  if (typeof error !== 'object' || error === null || !('token' in error)) return null
  const token = error.token
  if (typeof token !== 'object' || token === null || !('_location' in token)) return null
  const location = token._location
  if (typeof location !== 'object' || location === null || !('start' in location) || !('end' in location)) return null
  return [Number(location.start), Number(location.end)]
}

function nestedTooDeep(text: string): number | null {
  let depth = 0
  let quote = ''
  let prefixes = 0
  const words = /'|"|[([]|[)\]]|\b(?:not|case)\b|[-+~](?=\s*[-+~])|[^\s]/gi
  for (const found of text.matchAll(words)) {
    const c = found[0].toLowerCase()
    if (quote) {
      if (c === quote) quote = ''
    } else if (c === "'" || c === '"') quote = c
    else if (c === '(' || c === '[') depth++
    else if (c === ')' || c === ']') depth--
    prefixes = !quote && (c === 'not' || c === 'case' || /[-+~]/.test(c)) ? prefixes + 1 : 0
    if (depth > MAX_NESTING || prefixes > MAX_NESTING) return found.index
  }
  return null
}
