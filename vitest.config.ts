import { readFile } from 'node:fs/promises'
import { cloudflareTest } from '@cloudflare/vitest-plugin'
import type { Plugin } from 'vite'
import { defineConfig } from 'vitest/config'
import { LongFilesFirst } from './test/sequencer.ts'

const needsMore = ['**/*.workerd.test.ts', '**/*.pg.test.ts', '**/*.sdk.test.ts', '**/*.browser.test.ts']
const never = ['**/node_modules/**', '**/.rockpool/**', '**/dist/**']

/** What [[rules]] of wrangler.toml does for the bundle: a YAML file is a module whose default export is its text. */
const yamlIsText: Plugin = {
  name: 'yaml-is-text',
  enforce: 'pre',
  async load(id) {
    const path = id.split('?')[0] ?? id
    if (!path.endsWith('.yaml')) return null
    return `export default ${JSON.stringify(await readFile(path, 'utf8'))}`
  },
}

/**
 * Errors that tests make constructors throw: durable-objects/nameless.workerd.test.ts, and the last test of
 * bucket/bucket.workerd.test.ts.
 */
const OF_CONSTRUCTORS = [
  'the runtime did not give this object its name',
  'settings are missing or wrong: COMPACTION_BYTES',
]

/**
 * Files with processes of their own (Postgres, workerd, a browser), and time for slow machines. Mostly they wait, for
 * deadlines, polls and back-off: two at a time leave three quarters of two cores idle (2026-11-29).
 */
function withServers(name: string, groupOrder: number, maxWorkers: number) {
  return {
    plugins: [yamlIsText],
    test: {
      name,
      include: [`**/*.${name}.test.ts`],
      exclude: never,
      maxWorkers,
      sequence: { groupOrder },
      testTimeout: 300_000,
      hookTimeout: 180_000,
      teardownTimeout: 60_000,
    },
  }
}

export default defineConfig({
  test: {
    // The runtime reports what a constructor throws, whoever has caught it at the caller's end.
    onUnhandledError: (error) => !OF_CONSTRUCTORS.some((text) => String(error.message).startsWith(text)),
    sequence: { sequencer: LongFilesFirst },
    projects: [
      {
        plugins: [yamlIsText],
        test: {
          name: 'unit',
          include: ['**/*.test.ts'],
          exclude: [...never, ...needsMore],
          testTimeout: 30_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        plugins: [yamlIsText, cloudflareTest({ wrangler: { configPath: './wrangler.toml' } })],
        test: {
          name: 'workerd',
          include: ['**/*.workerd.test.ts'],
          exclude: never,
          // The SQL parser and the library under it must be one instance each, as in the deployed bundle. itty-durable
          // is shipped as modules that only a bundler finds (2.4.1).
          deps: { optimizer: { ssr: { enabled: true, include: ['pgsql-ast-parser', 'nearley', 'itty-durable'] } } },
          maxWorkers: 1,
          sequence: { groupOrder: 1 },
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      withServers('pg', 2, 3),
      withServers('sdk', 3, 5),
      withServers('browser', 4, 2),
    ],
  },
})
