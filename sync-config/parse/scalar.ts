import type { Range } from './findings.ts'

/** The text of a YAML scalar, with the place of each of its characters in the file. */
export interface ScalarText {
  text: string
  /** The range of the whole scalar. */
  range: Range
  /** Converts offsets in `text` to offsets in the file. */
  map(range: Range): Range
}

export type ScalarStyle = 'PLAIN' | 'QUOTE_SINGLE' | 'QUOTE_DOUBLE' | 'BLOCK_LITERAL' | 'BLOCK_FOLDED'

/**
 * Returns the text of a scalar. `source[range]` is the scalar as written, `text` its value. Places are computed lazily,
 * because only errors need them.
 */
export function scalarText(source: string, text: string, style: ScalarStyle, range: Range): ScalarText {
  let places: number[] | undefined
  return {
    text,
    range,
    map([start, end]) {
      places ??= style.startsWith('BLOCK') ? blockPlaces(source, text, range) : flowPlaces(source, text, style, range)
      const at = (i: number): number => places?.[Math.max(0, i)] ?? range[1]
      // The end is right after the last character, because the next one may be on another line.
      return [at(start), end > start ? at(end - 1) + 1 : at(start)]
    },
  }
}

const fold = /[ \t]*(?:\r?\n[ \t]*)+/y

function flowPlaces(source: string, text: string, style: ScalarStyle, [start, end]: Range): number[] {
  const places: number[] = []
  let at = style === 'PLAIN' ? start : start + 1
  while (places.length < text.length && at < end) {
    fold.lastIndex = at
    const folded = fold.exec(source)
    if (folded) {
      const breaks = folded[0].split('\n').length - 1
      for (let n = Math.max(1, breaks - 1); n > 0; n--) places.push(at)
      at += folded[0].length
    } else if (style === 'QUOTE_SINGLE' && source[at] === "'" && source[at + 1] === "'") {
      places.push(at)
      at += 2
    } else if (style === 'QUOTE_DOUBLE' && source[at] === '\\') {
      at = escape(source, at, places)
    } else {
      places.push(at++)
    }
  }
  return places
}

const lineContinuation = /\\\r?\n[ \t]*/y

/** Pushes the places of an escape sequence's characters. Returns where it ends. */
function escape(source: string, at: number, places: number[]): number {
  lineContinuation.lastIndex = at
  const continuation = lineContinuation.exec(source)
  if (continuation) return at + continuation[0].length
  const digits = { x: 2, u: 4, U: 8 }[source[at + 1] ?? ''] ?? 0
  places.push(at)
  if (digits === 8 && Number.parseInt(source.slice(at + 2, at + 10), 16) > 0xffff) places.push(at)
  return at + 2 + digits
}

function blockPlaces(source: string, text: string, [start, end]: Range): number[] {
  const places: number[] = []
  const header = source.indexOf('\n', start)
  if (header < 0) return places
  let at = header + 1
  const indent = indentation(source, start, at, end)
  const skipIndent = (): void => {
    for (let n = indent; n > 0 && source[at] === ' ' && at < end; n--) at++
  }
  skipIndent()
  while (places.length < text.length && at < end) {
    const lineBreak = source[at] === '\n' || (source[at] === '\r' && source[at + 1] === '\n')
    if (!lineBreak) {
      places.push(at++)
      continue
    }
    const here = at
    at += source[at] === '\r' ? 2 : 1
    skipIndent()
    const c = text[places.length]
    // A folded break is a space, and the first of several breaks may vanish.
    if (c === '\n' || c === ' ') places.push(here)
  }
  return places
}

function indentation(source: string, header: number, from: number, end: number): number {
  const given = /^[|>][+-]?([1-9])/.exec(source.slice(header, header + 3))
  for (let at = from; at < end;) {
    const stop = source.indexOf('\n', at)
    const line = source.slice(at, stop < 0 ? end : stop)
    if (line.trim() !== '')
      return given
        ? Math.min(Number(given[1]) + parentIndent(source, header), line.length)
        : line.length - line.trimStart().length
    if (stop < 0) break
    at = stop + 1
  }
  return 0
}

/** Returns the indentation of the line on which the scalar begins, from which an explicit indicator counts. */
function parentIndent(source: string, header: number): number {
  const line = source.slice(source.lastIndexOf('\n', header - 1) + 1, header)
  return line.length - line.trimStart().length
}
