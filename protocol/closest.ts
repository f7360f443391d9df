/** Returns a name, cut to a length that fits into a message. */
export const shorten = (name: string): string => (name.length > 60 ? `${name.slice(0, 60)}…` : name)

/** Returns a question to append to a message, or '' when there is no similar name. */
export const suggestion = (nearest: string | null): string => (nearest === null ? '' : ` Did you mean ${nearest}?`)

/** Returns the name that is the fewest edits away, or null when all are more than `most` away. */
export function closest(
  name: string,
  names: readonly string[],
  most = Math.max(1, Math.floor(name.length / 3)),
): string | null {
  let best: string | null = null
  let least = most + 1
  for (const other of names) {
    if (Math.abs(other.length - name.length) >= least) continue
    const distance = edits(name, other)
    if (distance < least) [best, least] = [other, distance]
  }
  return best
}

/** Counts the letters that must be added, left out, replaced, or exchanged with their neighbour. */
function edits(a: string, b: string): number {
  let before: number[] = []
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1]
      let least = Math.min((next[j - 1] ?? 0) + 1, (row[j] ?? 0) + 1, (row[j - 1] ?? 0) + (same ? 0 : 1))
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        least = Math.min(least, (before[j - 2] ?? 0) + 1)
      next.push(least)
    }
    ;[before, row] = [row, next]
  }
  return row[b.length] ?? 0
}
