import { expect, test } from 'vitest'
import { countResults } from './results.ts'

const ran = (passed: number, failed: number) => ({
  numPassedTests: passed,
  numFailedTests: failed,
  numPendingTests: 2,
  testResults: [],
})

test('counts what the runner counted', () => {
  expect(countResults(ran(5, 3), 1)).toEqual({ passed: 5, failed: 3, skipped: 2, unfinished: [] })
  expect(countResults(ran(5, 0), 0)).toEqual({ passed: 5, failed: 0, skipped: 2, unfinished: [] })
})

test('a file that could not be loaded is a failure', () => {
  const report = { ...ran(5, 0), testResults: [{ name: 'broken.test.ts', status: 'failed', assertionResults: [] }] }
  expect(countResults(report, 1).failed).toBe(1)
})

test('an error outside every test, no report, and a run without tests are failures', () => {
  expect(countResults(ran(5, 0), 1).failed).toBe(1)
  expect(countResults(null, 0).failed).toBe(1)
  expect(countResults(ran(0, 0), 0).failed).toBe(1)
})

test('a file whose process ended before its last test is a failure, and is named', () => {
  const assertionResults = [{ status: 'passed' }, { status: 'skipped' }, { status: 'pending' }]
  const report = { ...ran(5, 0), testResults: [{ name: 'ended.test.ts', status: 'passed', assertionResults }] }
  expect(countResults(report, 1)).toEqual({ passed: 5, failed: 1, skipped: 2, unfinished: ['ended.test.ts'] })
})
