import { isNull, textForm, type Value } from './values.ts'

const JULIAN_DAY_OF_1970 = 2440587.5
const DAY = 86_400_000
/** Julian day 0, the earliest instant of SQLite, in milliseconds since 1970. A date in text begins with the year 0. */
const EARLIEST = -210_866_760_000_000
const EARLIEST_TEXT = -62_167_219_200_000
const LATEST = 253_402_300_799_999

const numeric = /^\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*$/
const zone = /(?:Z|[+-]\d\d:?\d\d)$/i
const day = /^([+-]?\d{4,6})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?)?\s*(Z|[+-]\d\d:?\d\d)?$/i

interface Instant {
  /** Milliseconds since 1970, UTC. */
  at: number
  subseconds: boolean
}

/** Parses the time value and the modifiers of `unixepoch` and `datetime`. Returns null when they are not valid. */
function instant(args: readonly Value[]): Instant | null {
  const [value, ...modifiers] = args
  if (isNull(value)) return null
  let unix = false
  let subseconds = false
  let first = true
  for (const modifier of modifiers) {
    if (isNull(modifier)) continue
    if (modifier === 'unixepoch' && first) unix = true
    else if (modifier === 'subsec' || modifier === 'subsecond') subseconds = true
    else return null
    first = false
  }
  const at = milliseconds(value, unix)
  return at === null || !Number.isFinite(at) || at < EARLIEST || at > LATEST ? null : { at, subseconds }
}

function milliseconds(value: Value, unix: boolean): number | null {
  const text = textForm(value) ?? ''
  if (typeof value === 'bigint' || typeof value === 'number' || numeric.test(text)) {
    const number = Number(text)
    return unix ? Math.floor(number * 1000) : Math.round((number - JULIAN_DAY_OF_1970) * DAY)
  }
  const at = unix ? null : parseDate(text)
  return at === null || at < EARLIEST_TEXT ? null : at
}

/** Parses ISO forms. Days beyond the end of a month roll over, and digits beyond milliseconds are truncated. */
function parseDate(text: string): number | null {
  const parts = day.exec(text.trim())
  if (!parts) {
    const other = Date.parse(zone.test(text) ? text : `${text}Z`)
    return Number.isNaN(other) ? null : other
  }
  const [, year, month, date, hour = '0', minute = '0', second = '0', fraction = '', offset] = parts
  const [m, d, h, min, s] = [Number(month), Number(date), Number(hour), Number(minute), Number(second)]
  if (m < 1 || m > 12 || d < 1 || d > 31 || h > 24 || min > 59 || s > 59) return null
  if (h === 24 && (min > 0 || s > 0 || Number(fraction) > 0)) return null
  const at = Date.UTC(2000, m - 1, d, h, min, s, Number(fraction.slice(0, 3).padEnd(3, '0')))
  const inYear = new Date(at)
  inYear.setTime(Date.UTC(2000, m - 1, 1))
  inYear.setUTCFullYear(Number(year), m - 1, d)
  const whole = inYear.getTime() + h * 3_600_000 + min * 60_000 + s * 1000 + Number(fraction.slice(0, 3).padEnd(3, '0'))
  return whole - offsetOf(offset)
}

function offsetOf(offset: string | undefined): number {
  if (offset === undefined || /^z$/i.test(offset)) return 0
  const minutes = Number(offset.slice(1, 3)) * 60 + Number(offset.slice(-2))
  return (offset[0] === '-' ? -minutes : minutes) * 60_000
}

/** Returns seconds since 1970: INTEGER (floor), or REAL with `subsec`. */
export function unixEpoch(args: readonly Value[]): Value {
  const time = instant(args)
  if (time === null) return null
  return time.subseconds ? time.at / 1000 : BigInt(Math.floor(time.at / 1000))
}

/** Returns `YYYY-MM-DD HH:MM:SS`, followed by `.SSS` with `subsec`. */
export function dateTime(args: readonly Value[]): Value {
  const time = instant(args)
  if (time === null) return null
  // JavaScript prints six digits of a year before 0.
  const text = new Date(time.at).toISOString().replace(/^-00/, '-').replace('T', ' ').replace('Z', '')
  return time.subseconds ? text : text.slice(0, -4)
}
