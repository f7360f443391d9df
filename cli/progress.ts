import type { OperatorClient } from './operator.ts'
import { Refused } from './refused.ts'

/** Where a command writes, and whether it can ask questions. */
export interface Terminal {
  out(text: string): void
  /** True at an interactive terminal: questions are asked, and bars move. */
  interactive: boolean
  colour: boolean
}

const POLL_MS = 300
/** How long no answer is tolerated: a replicator that restarts does not answer for a moment. */
const SILENT_MS = 30_000

/**
 * Polls until `seen` returns something other than null. Throws Refused when the server refuses, or is silent for too
 * long.
 */
export async function poll<A, T>(client: OperatorClient, path: string, seen: (answer: A) => T | null): Promise<T> {
  for (let heard = performance.now(); ;) {
    const answer = await client.ask<A>('GET', path).catch((error: unknown) => {
      if (performance.now() - heard > SILENT_MS || (error instanceof Refused && error.status < 500)) throw error
      return null
    })
    if (answer) {
      heard = performance.now()
      const found = seen(answer)
      if (found !== null) return found
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS))
  }
}

/**
 * Shows bars that move on a terminal. Elsewhere prints the line that begins with `total` whenever it changes. Null
 * clears them.
 */
export function meter({ out, interactive }: Terminal): (text: string | null) => void {
  let lines = 0
  let last = ''
  return (text) => {
    if (interactive) {
      if (lines > 0) out(`\u001b[${lines}A\u001b[J`)
      lines = text === null ? 0 : text.split('\n').length
      if (text !== null) out(`${text}\n`)
    } else if (text !== null) {
      const total = text.split('\n').find((line) => line.startsWith('total')) ?? ''
      if (total !== last) out(`${total}\n`)
      last = total
    }
  }
}

const WIDTH = 24

/** `progress`: 0 to 1. */
export const bar = (progress: number): string => {
  const full = Math.round(progress * WIDTH)
  return `${'█'.repeat(full)}${'░'.repeat(WIDTH - full)} ${String(Math.floor(progress * 100)).padStart(3)} %`
}

/** 1 row, 2,000 rows. */
export const count = (n: number, one: string, many: string): string =>
  `${n.toLocaleString('en')} ${n === 1 ? one : many}`
