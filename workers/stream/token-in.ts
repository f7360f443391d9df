import { jsonOrNull } from '../../protocol/json.ts'

const QUOTE = 0x22
const BACKSLASH = 0x5c

/**
 * Returns the string member `token` of a JSON object without parsing what comes before it: a parser would allocate all
 * of that for a stranger. Returns null when there is no such member, or when the text up to it is not JSON. What
 * follows it is not checked.
 */
export function tokenIn(text: string): string | null {
  let at = gap(text, 0)
  if (text[at] !== '{') return null
  for (at = gap(text, at + 1); text[at] === '"'; at = gap(text, at + 1)) {
    const end = stringEnd(text, at)
    const name = text.slice(at + 1, end)
    at = gap(text, end + 1)
    if (text[at] !== ':') return null
    at = gap(text, at + 1)
    if (name === 'token') return stringAt(text, at)
    at = gap(text, valueEnd(text, at))
    if (text[at] !== ',') return null
  }
  return null
}

function stringAt(text: string, at: number): string | null {
  if (text[at] !== '"') return null
  const value = jsonOrNull(text.slice(at, stringEnd(text, at) + 1))
  return typeof value === 'string' ? value : null
}

/** Returns the position of the next character that is not a space. */
function gap(text: string, at: number): number {
  while (at < text.length && text.charCodeAt(at) <= 0x20) at++
  return at
}

/** Returns the position of the quote that ends the string, or the end of the text. */
function stringEnd(text: string, start: number): number {
  let at = start + 1
  while (at < text.length && text.charCodeAt(at) !== QUOTE) at += text.charCodeAt(at) === BACKSLASH ? 2 : 1
  return at
}

/**
 * Returns the position after a value. Brackets of all kinds are counted alike, because the text is parsed properly
 * later.
 */
function valueEnd(text: string, start: number): number {
  let depth = 0
  for (let at = start; at < text.length; at++) {
    const character = text[at]
    if (character === '"') at = stringEnd(text, at)
    else if (character === '{' || character === '[') depth++
    else if (character === '}' || character === ']') {
      if (depth === 0) return at
      depth--
    } else if (character === ',' && depth === 0) return at
  }
  return text.length
}
