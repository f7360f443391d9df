/**
 * Returns the entry of a list of standbys that matches this name, or null when there is none. With
 * `synchronous_standby_names`, commits of applications wait for the receiver with this application name. With
 * `synchronized_standby_slots`, our stream waits for the standby with this slot. The list may be `a, b`, `2 (a, b)`,
 * `FIRST 2 (a, b)` or `ANY 2 (a, b)`. Names match in any case and may be quoted; `*` matches all.
 */
export function waitsForStandby(standbys: string, of: string): string | null {
  const list = /^\s*(?:(?:first|any)\s+)?\d+\s*\((.*)\)\s*$/is.exec(standbys)?.[1] ?? standbys
  for (const [, quoted, plain] of list.matchAll(/"((?:[^"]|"")*)"|([^\s,"]+)/g)) {
    const name = quoted?.replaceAll('""', '"') ?? plain ?? ''
    if (name === '*' || name.toLowerCase() === of.toLowerCase()) return `'${name}'`
  }
  return null
}
