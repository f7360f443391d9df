import type { ValueOptions } from '../../../protocol/values.ts'

/** `infinity` is the last day that text can order. */
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
 * `2023-03-06 15:47:12.4` and, with a zone, `…+00` (sessions are in UTC). Legacy form: as printed, with `Z` for the zone. ISO form: `T` and
 * fixed digits. BC is null; with a zone years of five digits are null too.
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

/** Postgres has six digits, never more; they are cut, not rounded. */
function fraction(digits: string | undefined, options: ValueOptions): string {
  const width = Math.min(options.timestampDigits ?? 6, 6)
  return width === 0 ? '' : `.${(digits ?? '').slice(0, width).padEnd(width, '0')}`
}
