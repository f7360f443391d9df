import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { runScript } from '../test/support/command.ts'
import { temporaryDirectory } from '../test/support/support.ts'
import type { Results } from './results.ts'

test('npm run bench -- web measures both clients, and each figure of one is there of the other', async () => {
  const directory = await temporaryDirectory()
  try {
    const file = join(directory.path, 'results.json')
    const { code, output } = await runScript('bench/run.ts', '--quick', '--json', file, 'web')
    expect(code, output).toBe(0)
    const { figures }: Results = JSON.parse(await readFile(file, 'utf8'))
    const of = (name: string): string[] =>
      figures.flatMap(({ what }) => (what.startsWith(`${name}: `) ? [what.slice(name.length + 2)] : []))
    expect(of('ours').length).toBeGreaterThan(10)
    expect(of('@powersync/web')).toEqual(of('ours'))
    for (const { what, values } of figures) expect(Math.min(...values), what).toBeGreaterThan(0)
  } finally {
    await directory.remove()
  }
})
