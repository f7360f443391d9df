import nearley, { type Column } from 'nearley'
import { parse, type Statement } from 'pgsql-ast-parser'
import { allowed, TooMuchWork, type Work } from './work.ts'

let count: ((states: number) => void) | null = null

/**
 * The SQL parser uses nearley, which follows every reading of an ambiguous text, and has no limit of its own. So we
 * count at the two places where it creates a state, for all parsers of the process. Parsing that is not ours (`count`
 * is null) is not counted.
 */
const [column] = new nearley.Parser(nearley.Grammar.fromCompiled({ ParserRules: [], ParserStart: 'none' })).table
if (column) countStates(Object.getPrototypeOf(column))

function countStates(columns: Column): void {
  const { predict, complete } = columns
  columns.predict = function (this: Column, name) {
    count?.(this.grammar.byName[name]?.length ?? 0)
    predict.call(this, name)
  }
  columns.complete = function (this: Column, left, right) {
    count?.(1)
    complete.call(this, left, right)
  }
}

/**
 * nearley lists every rule that could continue after an error, in time that grows with the square of the nesting.
 * Nobody reads that list.
 */
nearley.Parser.prototype.reportErrorCommon = (lexerMessage, token) => `${lexerMessage}\nUnexpected ${token}.\n`

/**
 * Parses SQL. Throws TooMuchWork when it needs more states than a text of this length may, and the errors of the
 * parser.
 */
export function parseSql(text: string, work: Work): Statement[] {
  const most = allowed('sql', text.length)
  let states = 0
  const outer = count
  count = (more) => {
    states += more
    if (states > most) throw new TooMuchWork('sql')
  }
  try {
    return parse(text, { locationTracking: true })
  } finally {
    count = outer
    work.steps.sql += states
  }
}
