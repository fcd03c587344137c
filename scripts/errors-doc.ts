import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ERRORS, type ErrorRow } from '../domain/errors.ts'
import { ROOT } from './stack-options.ts'

/** Writes docs/errors.md from the error table; with --check only says whether it is up to date. */
const FILE = join(ROOT, 'docs', 'errors.md')

const INTRODUCTION = `# Errors

Everything that can go wrong in a way that people can do something about. The same row answers at every door: the API
with the HTTP status and \`{"error_code", "message"}\`, the command line with the message and an exit code, Temporal
with a failure whose type is the name. "Again" says whether the same call can succeed later without anything being
mended.

Generated from \`domain/errors.ts\` by \`npm run docs\`.

| name | HTTP | \`error_code\` | again | what to do |
|---|---|---|---|---|
`

function errorsDocument(rows: Record<string, ErrorRow>): string {
  const lines = Object.entries(rows).map(([name, { status, apiCode, retryable, hint }]) => {
    const cells = [`\`${name}\``, status, `\`${apiCode}\``, retryable ? 'yes' : 'no', hint.replaceAll('|', '\\|')]
    return `| ${cells.join(' | ')} |`
  })
  return `${INTRODUCTION}${lines.join('\n')}\n`
}

const wanted = errorsDocument(ERRORS)
if (process.argv.includes('--check')) {
  let found = ''
  try {
    found = readFileSync(FILE, 'utf8')
  } catch {
    // Missing is out of date too.
  }
  if (found !== wanted) {
    process.stderr.write('docs/errors.md is out of date: run "npm run docs".\n')
    process.exitCode = 1
  }
} else {
  writeFileSync(FILE, wanted)
}
