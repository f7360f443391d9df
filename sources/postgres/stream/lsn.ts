import { RockpoolError } from '../../../protocol/errors.ts'
import type { Lsn } from '../types.ts'

const FORM = /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/

/**
 * `16/B374D848` → bigint. LSNs are compared as numbers: as text `9/0` would stand behind `10/0`. Throws
 * ROCKPOOL_INTERNAL on another form.
 */
export function parseLsn(text: string): Lsn {
  const parts = FORM.exec(text)
  if (!parts) throw new RockpoolError('ROCKPOOL_INTERNAL', `${JSON.stringify(text)} is not an LSN`)
  return (BigInt(`0x${parts[1]}`) << 32n) | BigInt(`0x${parts[2]}`)
}

/** Formats an LSN as Postgres does: two hexadecimal halves without leading zeros. */
export function formatLsn(lsn: Lsn): string {
  return `${(lsn >> 32n).toString(16).toUpperCase()}/${(lsn & 0xffffffffn).toString(16).toUpperCase()}`
}
