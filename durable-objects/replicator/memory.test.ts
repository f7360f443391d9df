import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

// I8, by what is reachable and not by a counter of the code under test: a process whose heap ends at a limit.

const MB = 1024 * 1024
const LONG = { timeout: 300_000 }

async function run<T>(what: string, heapMb: number): Promise<T> {
  const script = fileURLToPath(new URL('memory-run.ts', import.meta.url))
  const flags = ['--expose-gc', '--no-warnings', `--max-old-space-size=${heapMb}`]
  const { stdout } = await promisify(execFile)(process.execPath, [...flags, script, what])
  return JSON.parse(stdout) as T
}

test('I8: slices of a transaction that all buckets have answered leave nothing in memory', LONG, async () => {
  const { heap } = await run<{ heap: number[] }>('slices', 64)
  expect(heap).toHaveLength(10)
  // The first ten slices held 16 MB of ops.
  expect(Math.max(...heap) - Math.min(...heap)).toBeLessThan(2 * MB)
})

test(
  'I8: an object starts, and sends again what it must, after a crash in a transaction of 1 M appends',
  LONG,
  async () => {
    const result = await run<{
      started: number
      answered: number
      after: number
      checkpoint: number
      told: number | null
    }>('recovery', 64)
    expect(result).toMatchObject({ answered: 1_000_000, checkpoint: 1_000_000, told: 4_000 })
    expect(result.started).toBeLessThan(16 * MB)
    expect(result.after).toBeLessThan(4 * MB)
  },
)
