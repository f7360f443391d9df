/**
 * The entry of a list of standbys that means one of this name; null when there is none. Of `synchronous_standby_names`: commits of applications wait for the
 * receiver of this application name. Of `synchronized_standby_slots`: what we are sent waits for the standby of this slot.
 * Forms: `a, b`, `2 (a, b)`, `FIRST 2 (a, b)`, `ANY 2 (a, b)`; names in any case, also quoted, and `*` for all.
 */
export function waitsForStandby(standbys: string, of: string): string | null {
  const list = /^\s*(?:(?:first|any)\s+)?\d+\s*\((.*)\)\s*$/is.exec(standbys)?.[1] ?? standbys
  for (const [, quoted, plain] of list.matchAll(/"((?:[^"]|"")*)"|([^\s,"]+)/g)) {
    const name = quoted?.replaceAll('""', '"') ?? plain ?? ''
    if (name === '*' || name.toLowerCase() === of.toLowerCase()) return `'${name}'`
  }
  return null
}
