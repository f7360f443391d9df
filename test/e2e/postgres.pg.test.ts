import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { POSTGRES_VERSIONS, startPostgres, type TestPostgres } from '../support/postgres.ts'

describe.each(POSTGRES_VERSIONS)('Postgres %i for tests', (version) => {
  let server: TestPostgres
  beforeAll(async () => {
    server = await startPostgres({ 'rockpool.setting': 'given' }, { version })
    await server.sql()`CREATE TABLE t (id int PRIMARY KEY)`
  })
  afterAll(() => server?.stop())

  const rows = async () => (await server.sql()`SELECT id FROM t ORDER BY id`).map((row) => Number(row.id))

  test('is the version asked for, with logical WAL, UTF-8 and the settings given', async () => {
    const [row] = await server.sql()<{ version: string; wal: string; encoding: string; given: string }[]>`
      SELECT current_setting('server_version_num') AS version, current_setting('wal_level') AS wal,
        current_setting('server_encoding') AS encoding, current_setting('rockpool.setting') AS given`
    expect(Math.floor(Number(row?.version) / 10_000)).toBe(version)
    expect(row).toMatchObject({ wal: 'logical', encoding: 'UTF8', given: 'given' })
  })

  test('keeps what was committed through a crash, a stop and a restart', async () => {
    await server.sql()`INSERT INTO t VALUES (1)`
    await server.kill9()
    await expect(server.sql()`SELECT 1`).rejects.toThrow()
    await server.startServer()
    expect(server.log).toContain('automatic recovery in progress')
    expect(await rows()).toEqual([1])
    await server.stopServer()
    await server.startServer({ 'rockpool.setting': 'changed' })
    await server.restart()
    const [row] = await server.sql()`SELECT current_setting('rockpool.setting') AS given`
    expect(row?.given).toBe('changed')
    expect(await rows()).toEqual([1])
  })

  test('goes back to a saved copy: same system, older rows', async () => {
    const system = async () =>
      (await server.sql()`SELECT system_identifier::text AS id FROM pg_control_system()`)[0]?.id
    const before = await system()
    const saved = await server.saveData()
    await server.sql()`INSERT INTO t VALUES (2)`
    expect(await rows()).toEqual([1, 2])
    await server.restoreData(saved)
    expect(await rows()).toEqual([1])
    expect(await system()).toBe(before)
  })
})
