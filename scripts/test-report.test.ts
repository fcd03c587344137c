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
    expect(tally(report(), [], 0)).toEqual({ passed: 3, failed: 0, skipped: 1, failures: [] })
  })

  it('counts a check that fails', () => {
    expect(tally(report(), ['lint'], 0)).toEqual({ passed: 3, failed: 1, skipped: 1, failures: ['lint'] })
  })

  it('counts a file that could not be loaded, once', () => {
    const broken = { name: 'b', status: 'failed', message: 'SyntaxError', assertionResults: [] }
    expect(tally(report({ testResults: [broken] }), [], 1).failed).toBe(1)
  })

  it('counts an unhandled error, of which the report knows nothing', () => {
    const { failed, failures } = tally(report(), [], 1)
    expect([failed, failures]).toEqual([1, [expect.stringContaining('exit code 1')]])
  })

  it('does not count a failed test twice', () => {
    const assertionResults = [{ fullName: 'x', status: 'failed' as const }]
    const testResults = [{ name: 'b', status: 'failed', message: '', assertionResults }]
    expect(tally(report({ numFailedTests: 1, testResults }), [], 1).failed).toBe(1)
  })

  it('is a failure when there is no report', () => {
    expect(tally(null, [], 0)).toEqual({
      passed: 0,
      failed: 1,
      skipped: 0,
      failures: [expect.stringContaining('without a report')],
    })
  })
})

describe('what failed in a CI run', () => {
  it('is each red test with its file and the beginning of why, and each file that could not be loaded', () => {
    const assertionResults = [
      { fullName: 'x', status: 'failed' as const, failureMessages: [`expected 1 to be 2${'.'.repeat(9_999)}`] },
      { fullName: 'y', status: 'passed' as const },
    ]
    const testResults = [
      { name: 'a', status: 'failed', message: '', assertionResults },
      { name: 'b', status: 'failed', message: 'SyntaxError', assertionResults: [] },
      { name: 'c', status: 'passed', message: '', assertionResults: [{ fullName: 'z', status: 'passed' as const }] },
    ]
    const [first = '', ...rest] = tally(report({ numFailedTests: 1, testResults }), [], 1).failures
    expect(first).toMatch(/^a > x: expected 1 to be 2/)
    expect(first.length).toBeLessThan(2_000)
    expect(rest).toEqual(['b: SyntaxError'])
  })
})
