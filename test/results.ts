/** What `vitest --reporter=json` writes, as far as it is counted. */
export interface RunnerReport {
  numPassedTests: number
  numFailedTests: number
  numPendingTests: number
  testResults: { name: string; status: string; assertionResults: { status: string }[] }[]
}

export interface Counts {
  passed: number
  failed: number
  skipped: number
  /** Files whose process ended before their last test. */
  unfinished: string[]
}

/**
 * Counts of a run. A file that could not be loaded has no failed test of its own and counts as one failure, as does one
 * that did not come to its end; so does a run that exits with an error that belongs to no test (an unhandled
 * rejection), and one that left no report or ran nothing.
 */
export function countResults(report: RunnerReport | null, exitCode: number | null): Counts {
  if (report === null) return { passed: 0, failed: 1, skipped: 0, unfinished: [] }
  const unloaded = report.testResults.filter(
    (file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'),
  )
  // The runner calls a test that is skipped `skipped`, and one that waits or runs `pending`.
  const unfinished = report.testResults.filter((file) =>
    file.assertionResults.some((test) => test.status === 'pending'),
  )
  const passed = report.numPassedTests
  let failed = report.numFailedTests + unloaded.length + unfinished.length
  if (failed === 0 && (exitCode !== 0 || passed === 0)) failed = 1
  return { passed, failed, skipped: report.numPendingTests, unfinished: unfinished.map(({ name }) => name) }
}
