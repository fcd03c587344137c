import { describe, expect, it } from 'vitest'
import { failures, type TestReport, tally } from './test-report.ts'

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
    const [first = '', ...rest] = failures(report({ testResults }))
    expect(first).toMatch(/^a > x: expected 1 to be 2/)
    expect(first.length).toBeLessThan(2_000)
    expect(rest).toEqual(['b: SyntaxError'])
    expect(failures(null)).toEqual([])
  })
})
