import { Refused, type OperatorClient } from './operator.ts'

/** Where a command writes to, and whom it can ask. */
export interface Terminal {
  out(text: string): void
  /** Somebody sits there: questions are asked, and bars move. */
  interactive: boolean
  colour: boolean
}

const POLL_MS = 300
/** A replicator that begins anew does not answer for a moment. */
const SILENT_MS = 30_000

/** Asks again and again until `seen` answers something else than null. Throws Refused when it is refused, or silent for long. */
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

/** Bars that move on a terminal; elsewhere the line that begins with `total` whenever it is another one. Null clears them. */
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
export const count = (n: number, one: string, many: string): string => `${n.toLocaleString('en')} ${n === 1 ? one : many}`
