import type { FailedTransaction } from '@rockpool/client'

// Writes that the server has refused, as a person sees them: one line for each, with what builds on it.

type Ops = FailedTransaction['ops']

export interface Refused {
  id: string
  message: string
  /** Ids of later writes that were refused with it, in their order. */
  also: string[]
  /** What somebody wrote and may correct; null: there is no text in it. */
  text: string | null
  ops: Ops
}

/** `failed`: in the order in which they were made. */
export function refusedOf(failed: readonly FailedTransaction[]): Refused[] {
  const ids = new Set(failed.map(({ id }) => id))
  const isRoot = ({ dependsOn }: FailedTransaction): boolean => dependsOn === null || !ids.has(dependsOn)
  return failed.filter(isRoot).map(({ id, message, ops }) => ({
    id,
    message,
    also: failed.filter(({ dependsOn }) => dependsOn === id).map((each) => each.id),
    text: textOf(ops)?.value ?? null,
    ops,
  }))
}

/** The same ops with another text. */
export function corrected(ops: Ops, text: string): Ops {
  const found = textOf(ops)
  // JSON.parse would round an integer beyond 2^53; there is none in these tables.
  return ops.map((op, n) =>
    found?.n === n ? { ...op, data: JSON.stringify({ ...JSON.parse(op.data ?? '{}'), [found.column]: text }) } : op,
  )
}

function textOf(ops: Ops): { n: number; column: string; value: string } | null {
  for (const [n, { data }] of ops.entries()) {
    const values: Record<string, unknown> = JSON.parse(data ?? '{}')
    for (const column of ['title', 'name']) {
      const value = values[column]
      if (typeof value === 'string') return { n, column, value }
    }
  }
  return null
}
