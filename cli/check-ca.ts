import { X509Certificate } from 'node:crypto'
import { parseSourceUrl, trustOf } from '../sources/postgres/index.ts'
import { RockpoolError } from '../protocol/errors.ts'
import type { SettingFinding } from './setting-finding.ts'
import { textOf, type Settings } from './settings.ts'

/** The largest setting that Cloudflare accepts, in bytes (2026-11). */
const MAX_SETTING_BYTES = 5 * 1024
const WARNED_DAYS = 60
const DAY_MS = 86_400_000

/**
 * Returns findings about authorities that the script refuses, or will refuse before long. Without a URL, which is a
 * secret and may be missing here, all of them count.
 */
export function checkAuthorities(settings: Settings, now = Date.now()): SettingFinding[] {
  const pem = textOf(settings, 'DATABASE_CA')
  if (pem === undefined) return []
  try {
    const url = textOf(settings, 'DATABASE_URL')
    const source = parseSourceUrl(url ?? 'postgres://unseen@unseen.example/unseen')
    // Whose roots are shipped is looked after by a test of ours.
    const authorities = trustOf(source, pem).flatMap((trust) =>
      trust.by === 'authorities' && trust.named === null ? trust.anchors : [],
    )
    return [
      ...(url !== undefined && source.sslmode === 'disable'
        ? [warning('DATABASE_CA has no effect: nothing is encrypted on this machine')]
        : []),
      ...sizeOf(pem),
      ...datesOf([...new Set(authorities)], now),
    ]
  } catch (problem) {
    if (problem instanceof RockpoolError)
      return problem.message.startsWith('DATABASE_CA')
        ? [{ level: 'error', code: problem.code, message: problem.message }]
        : []
    throw problem
  }
}

function sizeOf(pem: string): SettingFinding[] {
  const bytes = new TextEncoder().encode(pem).length
  if (bytes <= MAX_SETTING_BYTES) return []
  const problem = `DATABASE_CA has ${bytes} bytes, and Cloudflare takes ${MAX_SETTING_BYTES} of a setting: leave only the authorities of this database in it (of RDS those of its region)`
  return [warning(problem)]
}

function datesOf(authorities: readonly Uint8Array[], now: number): SettingFinding[] {
  const dates = authorities.map((der) => {
    const { subject, validTo } = new X509Certificate(der)
    return { name: subject.replaceAll('\n', ', '), ends: Date.parse(validTo) }
  })
  if (dates.length > 0 && dates.every(({ ends }) => ends < now))
    return [
      {
        level: 'error',
        code: 'ROCKPOOL_SOURCE_TLS',
        message: `DATABASE_CA: every certificate in it has expired (${dates.map(({ name }) => name).join('; ')})`,
      },
    ]
  return dates
    .filter(({ ends }) => ends < now + WARNED_DAYS * DAY_MS)
    .map(({ name, ends }) => {
      const day = new Date(ends).toISOString().slice(0, 10)
      return warning(
        ends < now
          ? `DATABASE_CA: ${name} expired on ${day}: take it out`
          : `DATABASE_CA: ${name} expires on ${day}: put its successor beside it`,
      )
    })
}

const warning = (message: string): SettingFinding => ({ level: 'warning', code: 'database-ca', message })
