import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { traceBindings, tracesOf } from './own-traces.ts'
import { developmentSecret, knownSecret } from './secret.ts'
import { declared, readSettings } from './settings.ts'

let directory: string
const home = process.cwd()
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'rockpool-settings-'))
  const vars = 'SLOT = "live"\nWAL_KEEP_GB = 5\nPUBLICATION = "app"\nOTHER = "x"\n'
  await writeFile(join(directory, 'wrangler.toml'), `name = "a"\n[vars]\n${vars}`)
  process.chdir(directory)
})
afterAll(async () => {
  process.chdir(home)
  await rm(directory, { recursive: true, force: true })
})

test('the environment goes before [vars], an empty variable counts as none, and only settings become bindings', async () => {
  const given = await readSettings({ SLOT: 'mine', PUBLICATION: '', PATH: '/bin', RELAYS: '2' })
  expect(declared(given)).toEqual({ SLOT: 'mine', WAL_KEEP_GB: 5, PUBLICATION: 'app', RELAYS: '2' })
  expect(given).toMatchObject({ OTHER: 'x', PATH: '/bin' })
})

test('what dev creates in a foreign database belongs to its data folder, regardless of [vars] of the deployment', async () => {
  const data = join(directory, 'data')
  const given = await readSettings({})
  const traces = await tracesOf(data, {}, { given, example: false })
  expect(traces).toEqual({
    slot: expect.stringMatching(/^rockpool_dev_[0-9a-f]{8}$/),
    ownSlot: true,
    publication: undefined,
    ownPublication: true,
    example: false,
  })
  const { PUBLICATION: _, ...without } = given
  expect(await tracesOf(data, {}, { given: without, example: false })).toEqual({ ...traces, publication: traces.slot })
  const named = await tracesOf(data, { SLOT: 'mine', OWN_PUBLICATION: 'my_tables' }, { given: without, example: true })
  expect(named).toEqual({
    slot: 'mine',
    ownSlot: false,
    publication: 'my_tables',
    ownPublication: false,
    example: true,
  })
  expect(traceBindings(named)).toEqual({ SLOT: 'mine', OWN_PUBLICATION: 'my_tables' })
  expect((await tracesOf(join(directory, 'other'), {}, { given, example: false })).slot).not.toBe(traces.slot)
})

test('a token is signed with a secret that is there; none is made for it', async () => {
  const data = join(directory, 'secrets')
  await expect(knownSecret(data)).rejects.toThrow(
    /there is no secret in .*secrets: rockpool dev makes it there; --data/,
  )
  expect(await readdir(directory)).not.toContain('secrets')
  const secret = await developmentSecret(data)
  expect(await knownSecret(data)).toBe(secret)
})
