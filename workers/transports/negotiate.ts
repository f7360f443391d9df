import { alternatives } from './accept-header.ts'

export const NDJSON = 'application/x-ndjson'
export const BSON = 'application/vnd.powersync.bson-stream'

export type StreamType = typeof NDJSON | typeof BSON

interface Range {
  type: string
  /** 0 … 1. */
  q: number
  order: number
}

/**
 * Returns the form of a stream that a client prefers, by its `Accept` header: the one with the higher q; of equals the
 * one that is named exactly, then the first. Returns NDJSON when there is no header, and when neither is acceptable,
 * because a stream is better than none.
 */
export function negotiate(accept: string | null | undefined): StreamType {
  const ranges = parse(accept ?? '')
  const candidates = [NDJSON, BSON].flatMap((type) => {
    const best = ranges
      .filter((range) => matches(range.type, type))
      .sort((a, b) => specificity(b.type) - specificity(a.type))[0]
    return best && best.q > 0 ? [{ type, q: best.q, specificity: specificity(best.type), order: best.order }] : []
  })
  const [first] = candidates.sort((a, b) => b.q - a.q || b.specificity - a.specificity || a.order - b.order)
  return first?.type === BSON ? BSON : NDJSON
}

const parse = (accept: string): Range[] =>
  alternatives(accept).map(({ value, q }, order) => ({ type: value, q: q >= 0 && q <= 1 ? q : 0, order }))

const matches = (range: string, type: string): boolean => range === type || range === '*/*' || range === 'application/*'

const specificity = (range: string): number => (range === '*/*' ? 0 : range.endsWith('/*') ? 1 : 2)
