import type { ValueOptions } from '../../../protocol/values.ts'

/** Converts a date. `infinity` becomes the last day that sorts correctly as text. */
export function dateText(text: string): string {
  if (text === 'infinity') return '9999-12-31'
  return text === '-infinity' ? '0000-01-01' : text
}

export function timeText(text: string, options: ValueOptions): string {
  if (!options.timestampsIso8601) return text
  const parts = /^(\d\d:\d\d:\d\d)(?:\.(\d+))?$/.exec(text)
  return parts ? `${parts[1] ?? ''}${fraction(parts[2], options)}` : text
}

/**
 * Converts `2023-03-06 15:47:12.4` and, with a zone, `…+00` (sessions are in UTC). The legacy form is as printed, with
 * `Z` for the zone. The ISO form has `T` and a fixed number of digits. Returns null for BC, and for years of five
 * digits with a zone.
 */
export function timestampText(text: string, options: ValueOptions, zone: boolean): string | null {
  const iso = options.timestampsIso8601
  if (text === 'infinity' || text === '-infinity') {
    const [day, time] = text === 'infinity' ? ['9999-12-31', '23:59:59'] : ['0000-01-01', '00:00:00']
    return iso ? `${day}T${time}${fraction(undefined, options)}${zone ? 'Z' : ''}` : `${day} ${time}${zone ? 'Z' : ''}`
  }
  const parts = /^(\d{4,})-(\d\d-\d\d) (\d\d:\d\d:\d\d)(?:\.(\d+))?(\+00(?::00)?)?( BC)?$/.exec(text)
  if (!parts) return text
  const [, year = '', day = '', time = '', digits, , bc] = parts
  if (bc || (zone && year.length > 4)) return null
  if (!iso) return `${year}-${day} ${time}${digits === undefined ? '' : `.${digits}`}${zone ? 'Z' : ''}`
  return `${year}-${day}T${time}${fraction(digits, options)}${zone ? 'Z' : ''}`
}

/** Postgres prints at most six digits. They are truncated, not rounded. */
function fraction(digits: string | undefined, options: ValueOptions): string {
  const width = Math.min(options.timestampDigits ?? 6, 6)
  return width === 0 ? '' : `.${(digits ?? '').slice(0, width).padEnd(width, '0')}`
}
