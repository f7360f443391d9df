import { once } from 'node:events'
import { createInterface } from 'node:readline/promises'
import type { OperatorOptions } from './operator.ts'
import { UsageError } from './problem.ts'
import type { Terminal } from './progress.ts'

/** Asks for confirmation. Throws UsageError when there is no terminal to ask at. */
export async function agreed(
  question: string,
  yesDoes: string,
  options: Pick<OperatorOptions, 'yes' | 'json' | 'token'>,
  { interactive }: Terminal,
): Promise<boolean> {
  if (options.yes) return true
  if (options.json || options.token === '-' || !interactive) {
    const why = options.json ? '--json asks nothing' : 'there is no terminal to ask on'
    throw new UsageError(`nothing was changed, because ${why}: --yes ${yesDoes}`, { code: 'ROCKPOOL_NOT_CONFIRMED' })
  }
  const lines = createInterface({ input: process.stdin, output: process.stdout })
  try {
    // Ctrl-C and Ctrl-D reject the question; an input that ends in another way leaves it without an answer.
    const answer = lines.question(`${question} [y/N] `).catch(() => '')
    const closed = once(lines, 'close').then(() => '')
    return /^y(es)?$/i.test((await Promise.race([answer, closed])).trim())
  } finally {
    lines.close()
  }
}
