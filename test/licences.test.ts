import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { installedPackages, licenceAllowed } from './licences.ts'

describe('licenceAllowed', () => {
  test.each(['MIT', 'Apache-2.0', '(MIT OR GPL-3.0)', 'MIT AND BSD-3-Clause', 'GPL-2.0 OR (MIT AND ISC)'])(
    '%s may be shipped',
    (licence) => {
      expect(licenceAllowed(licence, false)).toBe(true)
    },
  )

  const never = [
    'GPL-3.0-only',
    'AGPL-3.0',
    'FSL-1.1-ALv2',
    'BUSL-1.1',
    'SSPL-1.0',
    'UNLICENSED',
    'SEE LICENSE IN LICENSE.md',
    'MIT AND GPL-3.0',
  ]
  test.each([...never, 'GPL-2.0 WITH Classpath-exception-2.0', '(MIT', 'MIT ISC', '', null])(
    '%s may not even be a tool',
    (licence) => {
      expect(licenceAllowed(licence, true)).toBe(false)
    },
  )

  test('LGPL may be a tool and may not be shipped', () => {
    expect(licenceAllowed('LGPL-3.0-or-later', true)).toBe(true)
    expect(licenceAllowed('LGPL-3.0-or-later', false)).toBe(false)
  })
})

describe('installedPackages', () => {
  const root = mkdtempSync(join(tmpdir(), 'rockpool-licences-'))
  afterEach(() => rmSync(root, { recursive: true }))

  test('finds scoped and nested packages, with the old form of a licence and with none', () => {
    const write = (path: string, value: unknown) => {
      mkdirSync(dirname(join(root, path)), { recursive: true })
      writeFileSync(join(root, path), JSON.stringify(value))
    }
    write('package-lock.json', { packages: { 'node_modules/@a/tool': { dev: true } } })
    write('node_modules/@a/tool/package.json', { license: 'LGPL-3.0-or-later' })
    write('node_modules/b/package.json', { licenses: [{ type: 'MIT' }, { type: 'GPL-2.0' }] })
    write('node_modules/b/node_modules/c/package.json', {})
    write('node_modules/d/package.json', {})
    const text =
      'MIT License\n\nCopyright (c) 2023 Some B. Ody\n\nPermission is hereby granted, free of charge, to any person'
    writeFileSync(join(root, 'node_modules/d/LICENSE'), text)
    write('node_modules/e/package.json', {})
    writeFileSync(join(root, 'node_modules/e/LICENSE'), 'GNU General Public License')
    expect(installedPackages(root).sort((x, y) => x.path.localeCompare(y.path))).toEqual([
      { path: 'node_modules/@a/tool', licence: 'LGPL-3.0-or-later', dev: true },
      { path: 'node_modules/b', licence: 'MIT OR GPL-2.0', dev: false },
      { path: 'node_modules/b/node_modules/c', licence: null, dev: false },
      { path: 'node_modules/d', licence: 'MIT', dev: false },
      { path: 'node_modules/e', licence: null, dev: false },
    ])
  })
})
