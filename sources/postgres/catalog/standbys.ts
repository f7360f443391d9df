/**
 * Whether commits of applications would wait for a receiver of this application name: the entry of `synchronous_standby_names` that says so, null when
 * there is none. Forms: `a, b`, `2 (a, b)`, `FIRST 2 (a, b)`, `ANY 2 (a, b)`; names in any case, also quoted, and `*` for all.
 */
export function waitsForStandby(synchronousStandbyNames: string, applicationName: string): string | null {
  const list = /^\s*(?:(?:first|any)\s+)?\d+\s*\((.*)\)\s*$/is.exec(synchronousStandbyNames)?.[1] ?? synchronousStandbyNames
  for (const [, quoted, plain] of list.matchAll(/"((?:[^"]|"")*)"|([^\s,"]+)/g)) {
    const name = quoted?.replaceAll('""', '"') ?? plain ?? ''
    if (name === '*' || name.toLowerCase() === applicationName.toLowerCase()) return `'${name}'`
  }
  return null
}
