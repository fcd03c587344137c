import { ActivityFailure, ApplicationFailure, CancelledFailure, RetryState, TimeoutFailure } from '@temporalio/common'
import { describe, expect, it } from 'vitest'
import { CoppiceError } from '../domain/errors.ts'
import { describeFailure, toWorkflowFailure } from './failures.ts'
import { answering } from './operation.ts'

const ofStep = (cause: Error) =>
  new ActivityFailure('Activity task failed', 'buildArtifact', '1', RetryState.TIMEOUT, 'worker', cause)

describe('what people are told of a step that failed', () => {
  it('R3.3 is what it said itself, with the field and the last log lines', () => {
    const details = { field: 'package.json', logLines: ['npm error'], folder: '/inside' }
    const failure = ApplicationFailure.nonRetryable('npm ci ended with exit code 1', 'BuildFailed', details)
    expect(describeFailure(ofStep(failure), 'Build the artifact')).toEqual({
      step: 'Build the artifact',
      code: 'BuildFailed',
      message: 'npm ci ended with exit code 1',
      field: 'package.json',
      logLines: ['npm error'],
    })
  })

  it('is that it took too long where it never ended, and its own words where nobody foresaw it', () => {
    const late = ofStep(new TimeoutFailure('activity StartToClose timeout', null, 'START_TO_CLOSE'))
    expect(describeFailure(late)).toEqual({ code: 'Internal', message: 'It took too long (START_TO_CLOSE)' })
    const unforeseen = ofStep(ApplicationFailure.nonRetryable('x is not a function', 'TypeError'))
    expect(describeFailure(unforeseen)).toEqual({ code: 'Internal', message: 'x is not a function' })
  })

  it('R12.7 is no cancel that met it', () => {
    expect(describeFailure(ofStep(new CancelledFailure('cancelled'))).message).toBe('Activity task failed')
  })
})

it('R10.5 a workflow answers with its failure as it is, and with one that Temporal knows for anything else', async () => {
  const failure = toWorkflowFailure({ step: 'Build the artifact', code: 'BuildFailed', message: 'npm ci ended' })
  const answer = (error: unknown) => answering(() => Promise.reject(error)).catch((answered) => answered)
  expect(await answer(failure)).toBe(failure)
  const known = await answer(new CoppiceError('InvalidInput', 'app: is missing', { field: 'app' }))
  expect(known).toBeInstanceOf(ApplicationFailure)
  expect(known).toMatchObject({ type: 'InvalidInput', nonRetryable: true, details: [{ field: 'app' }] })
  expect(await answer(new Error('a defect'))).toMatchObject({ type: 'Internal', nonRetryable: true })
})
