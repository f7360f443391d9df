/** Parsers of the texts of arrays, composites and ranges. All throw Error for malformed text. */

export type ArrayItem = string | null | ArrayItem[]

/** Parses `{1,2}` or `{{a,"b c"},{NULL,"NULL"}}`. Explicit dimensions (`[0:1]={…}`) are ignored. */
export function parseArray(text: string, delimiter = ','): ArrayItem[] {
  let at = text.startsWith('[') ? text.indexOf('=') + 1 : 0
  const list = (): ArrayItem[] => {
    const items: ArrayItem[] = []
    at++ // {
    if (text[at] === '}') {
      at++
      return items
    }
    for (;;) {
      if (text[at] === '{') items.push(list())
      else if (text[at] === '"') items.push(quoted())
      else {
        const from = at
        while (at < text.length && text[at] !== delimiter && text[at] !== '}') at++
        const item = text.slice(from, at)
        items.push(item === 'NULL' ? null : item)
      }
      const next = text[at++]
      if (next === '}') return items
      if (next !== delimiter) throw new Error('not an array')
    }
  }
  const quoted = (): string => {
    const result = readQuoted(text, at)
    at = result.end
    return result.value
  }
  if (text[at] !== '{') throw new Error('not an array')
  const items = list()
  if (at !== text.length) throw new Error('not an array')
  return items
}

/** Parses `(1,"a b",)`. An empty member is null. */
export function parseComposite(text: string): (string | null)[] {
  if (!text.startsWith('(') || !text.endsWith(')')) throw new Error('not a composite')
  const members: (string | null)[] = []
  for (let at = 1; at < text.length; at++) {
    const member = readMember(text, at, ',)')
    members.push(member.value)
    at = member.end
    if (text[at] === ')' && at !== text.length - 1) throw new Error('not a composite')
  }
  return members
}

export interface RangeParts {
  lower: string | null
  upper: string | null
  lowerExclusive: boolean
  upperExclusive: boolean
}

/** Parses `[1,10)`, `(,5]` or `empty`. */
export function parseRange(text: string): RangeParts | 'empty' {
  if (text === 'empty') return 'empty'
  const { range, end } = readRange(text, 0)
  if (end !== text.length) throw new Error('not a range')
  return range
}

/** Splits `{[1,2),[5,6)}` into the texts of its ranges. */
export function parseMultirange(text: string): string[] {
  const ranges: string[] = []
  if (text === '{}') return ranges
  let at = 0
  do {
    const from = at + 1
    at = readRange(text, from).end
    ranges.push(text.slice(from, at))
  } while (text[at] === ',')
  if (text[0] !== '{' || text[at] !== '}' || at !== text.length - 1) throw new Error('not a multirange')
  return ranges
}

function readRange(text: string, from: number): { range: RangeParts; end: number } {
  const open = text[from]
  if (open !== '[' && open !== '(') throw new Error('not a range')
  const lower = readMember(text, from + 1, ',')
  const upper = readMember(text, lower.end + 1, ')]')
  const range = {
    lower: lower.value,
    upper: upper.value,
    lowerExclusive: open === '(',
    upperExclusive: text[upper.end] === ')',
  }
  return { range, end: upper.end + 1 }
}

/** Reads up to one of `ends`, which is at `end`. An empty member is null. */
function readMember(text: string, from: number, ends: string): { value: string | null; end: number } {
  let value = ''
  let at = from
  let any = false
  while (at < text.length && !ends.includes(text[at] ?? '')) {
    any = true
    if (text[at] === '"') {
      const part = readQuoted(text, at)
      value += part.value
      at = part.end
    } else if (text[at] === '\\') {
      value += text[at + 1] ?? ''
      at += 2
    } else value += text[at++] ?? ''
  }
  if (at >= text.length) throw new Error('not well formed')
  return { value: any ? value : null, end: at }
}

/** Reads from a `"` to its partner. `\x` is x, and `""` is one `"`. */
function readQuoted(text: string, from: number): { value: string; end: number } {
  let value = ''
  for (let at = from + 1; at < text.length; at++) {
    const unit = text[at] ?? ''
    if (unit === '\\') value += text[++at] ?? ''
    else if (unit !== '"') value += unit
    else if (text[at + 1] === '"') {
      value += '"'
      at++
    } else return { value, end: at + 1 }
  }
  throw new Error('not well formed')
}
