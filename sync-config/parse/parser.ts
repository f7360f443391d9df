import nearley, { type Column } from 'nearley'
import { parse, type Statement } from 'pgsql-ast-parser'
import { allowed, TooMuchWork, type Work } from './work.ts'

let count: ((states: number) => void) | null = null

/**
 * The SQL parser is nearley's, which makes every reading of an ambiguous text, and has no limit of its own. So the two places where it
 * makes a state are counted, for all parsers of the process; what is not ours (`count` is null) goes on as before.
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

/** nearley explains an error by every rule that could go on, in time that grows with the square of the nesting; nobody reads it. */
nearley.Parser.prototype.reportErrorCommon = (lexerMessage, token) => `${lexerMessage}\nUnexpected ${token}.\n`

/** Parses SQL. Throws TooMuchWork when it takes more states than a text of this length may need, and what the parser throws. */
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
