import { expect, it } from 'vitest'
import { type Attempt, formatAttempt, isRepeatable, parseAttempt, parseHistory } from './history-line.ts'

const full: Attempt = {
  startedAt: 1_795_410_888_790,
  endedAt: 1_795_410_889_003,
  kind: 'browser',
  client: '3.1',
  key: 'a key – with spaces',
  newKey: '0cc4d6dd-0000-8000-a000-000000000000',
  method: 'POST',
  body: true,
  status: 200,
  instance: 'hello-1-0',
  slot: 0,
  version: '-',
  id: 'a.3.1.7',
  router: 1,
  error: null,
  stream: false,
  refusal: null,
}

it('a line of the history is read as it was written, whatever the texts', () => {
  const failed: Attempt = {
    ...full,
    key: null,
    newKey: null,
    status: 0,
    instance: null,
    slot: null,
    version: null,
    error: 'EOF\nx',
  }
  for (const attempt of [
    full,
    failed,
    { ...full, newKey: full.key },
    { ...full, error: '', stream: true },
    { ...failed, status: 503, refusal: 'NoHealthyInstance' },
  ]) {
    expect(parseAttempt(formatAttempt(attempt))).toEqual(attempt)
    expect(formatAttempt(attempt)).not.toContain('\n')
  }
})

it('a line that was cut off, or is something else, is left out, and the rest is in the order of time', () => {
  const later = formatAttempt({ ...full, startedAt: full.startedAt + 5, endedAt: full.startedAt + 6, id: 'b' })
  const lines = [later, formatAttempt(full), formatAttempt(full).slice(0, 40), 'some message', ''].join('\n')
  expect(parseHistory(lines).map(({ id }) => id)).toEqual(['a.3.1.7', 'b'])
})

it('R12.1 only idempotent methods without a body may be repeated', () => {
  expect(isRepeatable({ method: 'DELETE', body: false })).toBe(true)
  expect(isRepeatable({ method: 'PUT', body: true })).toBe(false)
  expect(isRepeatable({ method: 'POST', body: false })).toBe(false)
})
