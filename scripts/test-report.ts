/** Of vitest's JSON report (Jest's format) what is read here. */
export type TestReport = {
  numPassedTests: number
  numFailedTests: number
  numPendingTests: number
  numTodoTests: number
  testResults: { name: string; status: string; message: string; assertionResults: TestCase[] }[]
}

export type TestCase = {
  fullName: string
  status: 'passed' | 'failed' | 'skipped' | 'pending' | 'todo'
  failureMessages?: string[]
}

const WHY_CHARS = 1_500

/** `failures`: each with the beginning of why, a list to be read after the thousands of lines of a run. */
export type Tally = { passed: number; failed: number; skipped: number; failures: string[] }

/** Each test that failed, and each file that could not be loaded: that has no tests that could fail. */
function failuresIn(report: TestReport): string[] {
  return report.testResults.flatMap(({ name, status, message, assertionResults }) => {
    const red = assertionResults.filter((test) => test.status === 'failed')
    if (red.length === 0) return status === 'failed' ? [`${name}: ${message.slice(0, WHY_CHARS)}`] : []
    return red.map(
      ({ fullName, failureMessages }) => `${name} > ${fullName}: ${failureMessages?.[0]?.slice(0, WHY_CHARS)}`,
    )
  })
}

/**
 * Counts what went wrong beside the tests, too: commands before them that failed (`broken`), a file that cannot be
 * loaded, a run that ends with an error though no test failed (an unhandled rejection, a crash), a run without a report.
 */
export function tally(report: TestReport | null, broken: readonly string[], testCode: number): Tally {
  if (report === null) {
    const failures = ['the run of the tests ended without a report', ...broken]
    return { passed: 0, failed: failures.length, skipped: 0, failures }
  }
  const inTests = failuresIn(report)
  const unexplained = inTests.length === 0 && testCode !== 0
  const outside = unexplained
    ? [`the run of the tests ended with exit code ${testCode}, though none of them failed`]
    : []
  const failures = [...inTests, ...outside, ...broken]
  return {
    passed: report.numPassedTests,
    failed: failures.length,
    skipped: report.numPendingTests + report.numTodoTests,
    failures,
  }
}
