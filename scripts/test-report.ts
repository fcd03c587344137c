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

export type Tally = { passed: number; failed: number; skipped: number }

/** Every test and file that failed, with the beginning of why: a list to be read after thousands of lines of a run. */
export function failures(report: TestReport | null): string[] {
  return (report?.testResults ?? []).flatMap(({ name, status, message, assertionResults }) => {
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
export function tally(report: TestReport | null, broken: number, testCode: number): Tally {
  if (report === null) return { passed: 0, failed: 1 + broken, skipped: 0 }
  // A file that could not be loaded has no tests that could fail.
  const unloaded = report.testResults.filter(
    ({ status, assertionResults }) => status === 'failed' && !assertionResults.some((test) => test.status === 'failed'),
  ).length
  const inTests = report.numFailedTests + unloaded
  const unexplained = inTests === 0 && testCode !== 0 ? 1 : 0
  return {
    passed: report.numPassedTests,
    failed: inTests + unexplained + broken,
    skipped: report.numPendingTests + report.numTodoTests,
  }
}
