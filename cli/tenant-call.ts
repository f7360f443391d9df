import type { OperatorClient } from './operator.ts'
import type { Parsed } from './options.ts'
import type { Terminal } from './progress.ts'

/** What a verb of `rockpool tenants` is called with. */
export interface TenantCall extends Pick<Parsed, 'text' | 'texts' | 'flag'> {
  client: OperatorClient
  /** Where the deployment answers. */
  url: string
  /** Of the tenant; empty for verbs that need none. */
  name: string
  terminal: Terminal
  /** Shows something to people: nothing with `--json`. */
  say(text: string): void
}
