import { fileURLToPath } from 'node:url'
import type { World } from './world.ts'

/** In front of the script it counts what is billed. */
export const COUNTING = fileURLToPath(new URL('counting.mjs', import.meta.url))

export type Counts = Record<string, number>

/** Of a world with `front: COUNTING`, since workerd started. */
export async function takeCounts(world: World): Promise<Counts> {
  const counts: Counts = await (await fetch(`${world.url}/_counts`)).json()
  return counts
}

export const difference = (after: Counts, before: Counts): Counts =>
  Object.fromEntries(Object.entries(after).map(([name, n]) => [name, n - (before[name] ?? 0)]))

/** The sum of those whose name matches. */
export const sum = (counts: Counts, name: RegExp): number =>
  Object.entries(counts).reduce((total, [each, n]) => (name.test(each) ? total + n : total), 0)

/** As they are billed: setting an alarm is one. */
export const rowsWritten = (counts: Counts): number => sum(counts, / rows written/)
