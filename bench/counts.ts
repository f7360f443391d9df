import { fileURLToPath } from 'node:url'
import type { World } from './world.ts'

/** A module in front of the script that counts what is billed. */
export const COUNTING = fileURLToPath(new URL('counting.mjs', import.meta.url))

export type Counts = Record<string, number>

/** Returns the counts of a world with `front: COUNTING`, since workerd started. */
export async function takeCounts(world: World): Promise<Counts> {
  const counts: Counts = await (await fetch(`${world.url}/_counts`)).json()
  return counts
}

export const difference = (after: Counts, before: Counts): Counts =>
  Object.fromEntries(Object.entries(after).map(([name, n]) => [name, n - (before[name] ?? 0)]))

/** Returns the sum of the counts whose name matches. */
export const sum = (counts: Counts, name: RegExp): number =>
  Object.entries(counts).reduce((total, [each, n]) => (name.test(each) ? total + n : total), 0)

/** Returns the rows written as they are billed: setting an alarm counts as one. */
export const rowsWritten = (counts: Counts): number => sum(counts, / rows written/)
