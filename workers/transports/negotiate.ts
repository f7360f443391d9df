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

function parse(accept: string): Range[] {
  return accept.split(',').map((part, order) => {
    const [type = '', ...parameters] = part.split(';').map((text) => text.trim().toLowerCase())
    const q = parameters.find((parameter) => /^q\s*=/.test(parameter))?.replace(/^q\s*=\s*/, '')
    const value = q === undefined ? 1 : Number(q)
    return { type, q: value >= 0 && value <= 1 ? value : 0, order }
  })
}

const matches = (range: string, type: string): boolean => range === type || range === '*/*' || range === 'application/*'

const specificity = (range: string): number => (range === '*/*' ? 0 : range.endsWith('/*') ? 1 : 2)
