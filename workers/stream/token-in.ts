import { jsonOrNull } from '../../protocol/json.ts'

const QUOTE = 0x22
const BACKSLASH = 0x5c

/**
 * The text member `token` of a JSON object, found without parsing what stands before it: a parser would make values of all of that, for somebody of whom
 * nothing is known yet. Null when there is none, or the text is no JSON that far. Nothing is said about what follows.
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

/** Where the next character stands that is no space. */
function gap(text: string, at: number): number {
  while (at < text.length && text.charCodeAt(at) <= 0x20) at++
  return at
}

/** Where the quote stands that ends the string, or the end of the text. */
function stringEnd(text: string, start: number): number {
  let at = start + 1
  while (at < text.length && text.charCodeAt(at) !== QUOTE) at += text.charCodeAt(at) === BACKSLASH ? 2 : 1
  return at
}

/** Behind a value. Brackets are counted, whatever their kind: what is parsed later tells the rest. */
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
