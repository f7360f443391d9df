import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { parse } from './options.ts'
import { tenantChange } from './tenant-change.ts'

const changeOf = (
  args: string[],
  { env = {}, isNew = false, input = '' }: { env?: Record<string, string>; isNew?: boolean; input?: string } = {},
) => tenantChange(parse('tenants', args), env, { isNew, input: Readable.from([Buffer.from(input)]) })

test('options say settings, secrets, hosts, claim and place; what is not said is not in it', async () => {
  expect(await changeOf([])).toEqual({ settings: {}, secrets: {} })
  const file = join(mkdtempSync(join(tmpdir(), 'rockpool-tenants-')), 'acme.yaml')
  writeFileSync(file, 'bucket_definitions: {}\n')
  const args = [
    '--setting',
    'SLOT=mine',
    '--setting',
    'JWT_ISSUER',
    '--jwt-audience',
    'a',
    '--sync-config',
    file,
    '--host',
    'a.example',
    '--host',
    'b.example',
  ]
  expect(
    await changeOf([
      ...args,
      '--tenant-claim',
      'org',
      '--location',
      'weur',
      '--jurisdiction',
      'eu',
      '--database-url',
      'postgres://x',
      '--jwt-secret',
      's',
    ]),
  ).toEqual({
    settings: { SLOT: 'mine', JWT_ISSUER: null, JWT_AUDIENCE: 'a', SYNC_CONFIG: 'bucket_definitions: {}\n' },
    secrets: { DATABASE_URL: 'postgres://x', JWT_SECRET: 's' },
    hosts: ['a.example', 'b.example'],
    tenantClaim: 'org',
    location: 'weur',
    jurisdiction: 'eu',
  })
  expect(await changeOf(['--host', '', '--tenant-claim', ''])).toEqual({
    settings: {},
    secrets: {},
    hosts: [],
    tenantClaim: null,
  })
})

describe('secrets', () => {
  const env = { DATABASE_URL: 'postgres://env', JWT_SECRET: 'env', JWT_AUDIENCE: 'env', JWT_KEYS: 'keys' }

  test('of a new tenant are in the environment, and a change of one takes none that is not asked for', async () => {
    expect(await changeOf([], { env, isNew: true })).toEqual({
      settings: { JWT_AUDIENCE: 'env' },
      secrets: { DATABASE_URL: 'postgres://env', JWT_SECRET: 'env' },
    })
    expect(await changeOf([], { env })).toEqual({ settings: {}, secrets: {} })
    expect((await changeOf(['--secret', 'JWT_KEYS'], { env })).secrets).toEqual({ JWT_KEYS: 'keys' })
  })

  test('on standard input are JSON; null takes one away', async () => {
    const input = '{"DATABASE_URL": "postgres://in", "JWT_SECRET": null}'
    expect((await changeOf(['--secrets', '-'], { env, isNew: true, input })).secrets).toEqual({
      DATABASE_URL: 'postgres://in',
      JWT_SECRET: null,
    })
  })

  test.each<[string[], string, RegExp]>([
    [['--secrets', '-'], 'geheim', /must be one JSON object/],
    [['--secrets', '-'], '{"DATABASE_URL": {"geheim": 1}}', /must be one JSON object/],
    [['--secrets', 'geheim'], '', /--secrets - reads them from standard input/],
    [['--secret', 'GEHEIM'], '', /a tenant has no secret GEHEIM; it has DATABASE_URL, /],
    [['--secret', 'DATABASE_URL'], '', /no variable DATABASE_URL in the environment/],
    [['--setting', 'DATABASE_URL=geheim'], '', /DATABASE_URL is a secret: --secret DATABASE_URL takes it/],
    [['--setting', 'WAL_KEEP_GB=5'], '', /a tenant has no setting WAL_KEEP_GB; it has DATABASE_CA, /],
  ])('%s is refused, and no value is shown', async (args, input, message) => {
    const refused = await changeOf(args, { input }).catch(String)
    expect(refused).toMatch(message)
    if (!args.includes('GEHEIM')) expect(String(refused)).not.toContain('geheim')
  })
})

test('limits: either part may be left out, and none takes one away', async () => {
  const args = ['streams=80:100', 'rowsPerDay=:5000'].flatMap((each) => ['--limit', each])
  expect((await changeOf(args)).limits).toEqual({
    streams: { warn: 80, refuse: 100 },
    rowsPerDay: { warn: null, refuse: 5_000 },
  })
  expect((await changeOf(['--limit', 'streams=50'])).limits).toEqual({ streams: { warn: 50, refuse: null } })
  expect((await changeOf(['--limit', 'streams='])).limits).toEqual({ streams: null })
  for (const wrong of ['rows=1:2', 'streams', 'streams=a:b', 'streams=1:2:3'])
    await expect(changeOf(['--limit', wrong])).rejects.toThrow(/say NAME=WARN:REFUSE/)
})
