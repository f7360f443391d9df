import { existsSync, readdirSync, readFileSync, realpathSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

// Looks at what is really installed, not at what package.json asks for: a licence enters a tree through the
// dependencies of dependencies. The list says what may be in; whatever is not on it fails, so a licence that nobody has
// looked at cannot slip through.

const FREE = new Set([
  ...[
    'MIT',
    'MIT-0',
    'Apache-2.0',
    'BSD-2-Clause',
    'BSD-3-Clause',
    '0BSD',
    'ISC',
    'BlueOak-1.0.0',
    'CC0-1.0',
    'Unlicense',
  ],
  ...['MPL-2.0', 'Python-2.0', 'CC-BY-3.0', 'CC-BY-4.0', 'Zlib', 'Unicode-3.0', 'PostgreSQL'],
])
/** Weak copyleft that may be used as a tool of development but not be shipped. */
const TOOLS_ONLY = /^LGPL-/

export interface InstalledPackage {
  /** Folder below the project, `node_modules/x`. */
  path: string
  /** SPDX expression, null when the package names none. */
  licence: string | null
  /** Installed only for development. */
  dev: boolean
}

/**
 * Whether a package with this SPDX expression may be installed. Of `A OR B` one is enough, of `A AND B` both are
 * needed.
 */
export function licenceAllowed(expression: string | null, dev: boolean): boolean {
  if (expression === null) return false
  const tokens = expression.match(/[()]|[^\s()]+/g) ?? []
  let at = 0
  const any = (): boolean => {
    let allowed = all()
    while (tokens[at] === 'OR') {
      at++
      allowed = all() || allowed
    }
    return allowed
  }
  const all = (): boolean => {
    let allowed = one()
    while (tokens[at] === 'AND') {
      at++
      allowed = one() && allowed
    }
    return allowed
  }
  const one = (): boolean => {
    const token = tokens[at++]
    if (token === undefined) return false
    if (token !== '(') return FREE.has(token) || (dev && TOOLS_ONLY.test(token))
    const allowed = any()
    return tokens[at++] === ')' && allowed
  }
  const allowed = any()
  // Anything left over, such as `WITH exception`, is something we do not understand.
  return allowed && at === tokens.length
}

/** Every package in the node_modules folders of the project, workspaces included. */
export function installedPackages(root: string): InstalledPackage[] {
  const lock = readJson(join(root, 'package-lock.json'))
  const locked = isRecord(lock.packages) ? lock.packages : {}
  const found = new Map<string, InstalledPackage>()
  const visit = (modules: string): void => {
    if (!existsSync(modules)) return
    for (const entry of readdirSync(modules)) {
      if (entry.startsWith('.')) continue
      const folder = join(modules, entry)
      if (entry.startsWith('@')) visit(folder)
      else if (existsSync(join(folder, 'package.json'))) {
        const real = relative(root, realpathSync(folder))
        if (found.has(real)) continue
        const known = locked[real]
        found.set(real, {
          path: real,
          licence: licenceOf(readJson(join(folder, 'package.json'))) ?? licenceOfText(folder),
          dev: isRecord(known) && (known.dev === true || known.devOptional === true),
        })
        visit(join(folder, 'node_modules'))
      }
    }
  }
  visit(join(root, 'node_modules'))
  return [...found.values()]
}

function licenceOf(manifest: Record<string, unknown>): string | null {
  if (typeof manifest.license === 'string') return manifest.license
  // The old form: {type, url}, or a list of them, of which one may choose.
  const old = Array.isArray(manifest.licenses) ? manifest.licenses : [manifest.license]
  const names = old
    .map((entry: unknown) => (isRecord(entry) ? entry.type : entry))
    .filter((name) => typeof name === 'string')
  return names.length > 0 ? names.join(' OR ') : null
}

/** A package that names no licence may still carry the text of one. */
function licenceOfText(folder: string): string | null {
  const path = join(folder, 'LICENSE')
  const text = existsSync(path) ? readFileSync(path, 'utf8').replace(/\s+/g, ' ') : ''
  return /^MIT License Copyright \(c\) .{1,200}? Permission is hereby granted, free of charge,/.test(text)
    ? 'MIT'
    : null
}

function readJson(path: string): Record<string, unknown> {
  const value: unknown = JSON.parse(readFileSync(path, 'utf8'))
  if (!isRecord(value)) throw new Error(`${path} is not a JSON object`)
  return value
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const packages = installedPackages(fileURLToPath(new URL('..', import.meta.url)))
  const refused = packages.filter((each) => !licenceAllowed(each.licence, each.dev))
  for (const each of refused)
    console.error(
      `${each.path}: licence ${each.licence ?? 'unknown'} may not be installed${each.dev ? '' : ' and shipped'}`,
    )
  if (packages.length === 0) console.error('no packages are installed: run npm ci')
  console.log(`${packages.length} packages, ${refused.length} with a licence that is not allowed`)
  process.exitCode = refused.length === 0 && packages.length > 0 ? 0 : 1
}
