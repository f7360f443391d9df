import { spawn } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { provideChromium } from './support/chromium.ts'
import { POSTGRES_15_MISSING } from './support/postgres-server.ts'
import { countResults, type RunnerReport } from './results.ts'

// `npm test`: everything that has to hold before a change is good. Its last line is `N passed, N failed`.
// Further arguments go to vitest (names of files), and then only vitest runs.

const root = fileURLToPath(new URL('..', import.meta.url))
const tool = (name: string) => join(root, 'node_modules', '.bin', name)
const filters = process.argv.slice(2)

const checks: [name: string, command: string, args: string[]][] = [
  ['licences', process.execPath, ['test/licences.ts']],
  ['types of the server', tool('tsc'), ['-p', 'tsconfig.json']],
  ['types of tests in workerd', tool('tsc'), ['-p', 'tsconfig.workerd.json']],
  ['types of Node code', tool('tsc'), ['-p', 'tsconfig.node.json']],
  ['types of the client', tool('tsc'), ['-p', 'client/tsconfig.json']],
  ['eslint', tool('eslint'), ['.']],
  ['prettier', tool('prettier'), ['--check', '--log-level', 'warn', '.']],
  ['wrangler deploy --dry-run', tool('wrangler'), ['deploy', '--dry-run', '--outdir', '.rockpool/test-bundle']],
]

let passed = 0
let failed = 0

if (filters.length === 0) {
  for (const [name, command, args] of checks) {
    console.log(`\n— ${name}`)
    const ok = (await run(command, args)) === 0
    if (ok) passed++
    else failed++
    if (!ok) console.error(`✗ ${name} failed`)
  }
}

const browser = provideChromium()
if (browser !== null) console.log(browser)
if (POSTGRES_15_MISSING !== null) console.log(`Not tested with Postgres 15, only with 18: ${POSTGRES_15_MISSING}`)

console.log('\n— tests')
const reportPath = join(root, '.rockpool', 'test-report.json')
mkdirSync(join(root, '.rockpool'), { recursive: true })
rmSync(reportPath, { force: true })
const exitCode = await run(tool('vitest'), [
  'run',
  '--reporter=default',
  '--reporter=json',
  `--outputFile.json=${reportPath}`,
  ...filters,
])
const counts = countResults(readReport(), exitCode)
passed += counts.passed
failed += counts.failed
for (const file of counts.unfinished) console.error(`✗ the process of ${file} ended before its last test`)
if (counts.skipped > 0) console.log(`${counts.skipped} skipped`)

console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1

function run(command: string, args: string[]): Promise<number | null> {
  const child = spawn(command, args, {
    cwd: root,
    stdio: 'inherit',
    env: { ...process.env, WRANGLER_SEND_METRICS: 'false' },
  })
  return new Promise((resolve) => {
    child.once('exit', (code) => resolve(code))
    child.once('error', (error) => {
      console.error(`${command}: ${error.message}`)
      resolve(null)
    })
  })
}

function readReport(): RunnerReport | null {
  try {
    const report: RunnerReport = JSON.parse(readFileSync(reportPath, 'utf8'))
    return report
  } catch (error) {
    console.error(`the test runner left no report: ${String(error)}`)
    return null
  }
}
