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
}

/**
 * Counts of a run. A file that could not be loaded has no failed test of its own and counts as one failure; so does a run that exits
 * with an error that belongs to no test (an unhandled rejection), and one that left no report or ran nothing.
 */
export function countResults(report: RunnerReport | null, exitCode: number | null): Counts {
  if (report === null) return { passed: 0, failed: 1, skipped: 0 }
  const unloaded = report.testResults.filter(
    (file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'),
  )
  const passed = report.numPassedTests
  let failed = report.numFailedTests + unloaded.length
  if (failed === 0 && (exitCode !== 0 || passed === 0)) failed = 1
  return { passed, failed, skipped: report.numPendingTests }
}
