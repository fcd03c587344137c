import { describe, expect, it } from 'vitest'
import { type TestReport, tally } from './test-report.ts'

const report = (more: Partial<TestReport> = {}): TestReport => ({
  numPassedTests: 3,
  numFailedTests: 0,
  numPendingTests: 1,
  numTodoTests: 0,
  testResults: [{ name: 'a', status: 'passed', message: '', assertionResults: [{ fullName: 'x', status: 'passed' }] }],
  ...more,
})

describe('the sum of a CI run', () => {
  it('is that of the tests when all is well', () => {
    expect(tally(report(), 0, 0)).toEqual({ passed: 3, failed: 0, skipped: 1 })
  })

  it('counts a check that fails', () => {
    expect(tally(report(), 1, 0)).toEqual({ passed: 3, failed: 1, skipped: 1 })
  })

  it('counts a file that could not be loaded, once', () => {
    const broken = { name: 'b', status: 'failed', message: 'SyntaxError', assertionResults: [] }
    expect(tally(report({ testResults: [broken] }), 0, 1).failed).toBe(1)
  })

  it('counts an unhandled error, of which the report knows nothing', () => {
    expect(tally(report(), 0, 1).failed).toBe(1)
  })

  it('does not count a failed test twice', () => {
    const assertionResults = [{ fullName: 'x', status: 'failed' as const }]
    const testResults = [{ name: 'b', status: 'failed', message: '', assertionResults }]
    expect(tally(report({ numFailedTests: 1, testResults }), 0, 1).failed).toBe(1)
  })

  it('is a failure when there is no report', () => {
    expect(tally(null, 0, 0)).toEqual({ passed: 0, failed: 1, skipped: 0 })
  })
})
