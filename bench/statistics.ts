export interface Summary {
  min: number
  median: number
  p95: number
  p99: number
  max: number
}

/** Percentiles by nearest rank. */
export function summary(values: readonly number[]): Summary {
  if (values.length === 0) throw new Error('there is nothing to summarise')
  const sorted = [...values].sort((a, b) => a - b)
  const at = (q: number): number => sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? 0
  return { min: at(0), median: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1) }
}
