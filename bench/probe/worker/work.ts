/** Computes for so many million rounds. */
export function work(millions: number): number {
  let result = 1
  for (let n = millions * 1_000_000; n > 0; n--) result = Math.imul(result ^ n, 2_654_435_761)
  return result
}
