/** The part of nearley that is used. It has no types of its own. */
declare module 'nearley' {
  /** The states of the chart at one token. */
  export interface Column {
    readonly grammar: { readonly byName: Readonly<Record<string, readonly unknown[]>> }
    /** Adds the rules of a non-terminal. */
    predict(name: string): void
    /** Adds the state in which `left` has got its next symbol. */
    complete(left: unknown, right: unknown): void
  }
  export class Grammar {
    static fromCompiled(rules: { ParserRules: readonly unknown[]; ParserStart: string }): Grammar
  }
  export class Parser {
    constructor(grammar: Grammar)
    readonly table: readonly Column[]
    reportErrorCommon(lexerMessage: string, token: string): string
  }
  const nearley: { Grammar: typeof Grammar; Parser: typeof Parser }
  export default nearley
}
