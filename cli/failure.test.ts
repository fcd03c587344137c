import { describe, expect, it } from 'vitest'
import { CoppiceError } from '../domain/errors.ts'
import { ApiError, EXIT, OperationFailed, tellFailure, Unreachable } from './failure.ts'

const operation = { id: 'op-1', app: 'shop', type: 'deploy', state: 'FAILED' }

describe('what the command line says of a failure', () => {
  it('R9.3 names the step, the cause, the last log lines, then what to do', () => {
    const { exitCode, lines } = tellFailure(
      new OperationFailed(operation, {
        code: 'AppCrashedAtStart',
        message:
          'The app ended with exit code 3. Read the log lines above; the same command can be run in the source folder.',
        step: 'Start the build instance',
        log_lines: ['starting', 'no database'],
      }),
    )
    expect(exitCode).toBe(EXIT.failed)
    expect(lines).toEqual([
      'The deploy of shop failed at the step "Start the build instance".',
      'The app ended with exit code 3.',
      'Its last log lines:',
      '  | starting',
      '  | no database',
      'The app is as it was before.',
      'Read the log lines above; the same command can be run in the source folder.',
      'All steps: coppice operations get op-1',
    ])
  })

  it('says what could not be taken back instead of claiming that all is as before', () => {
    const failure = { code: 'Internal', message: 'x', undo_failures: ['slot 1: stop'] } as const
    const text = tellFailure(
      new OperationFailed(operation, { ...failure, undo_failures: [...failure.undo_failures] }),
    ).lines.join('\n')
    expect(text).toContain('slot 1: stop')
    expect(text).not.toContain('as it was before')
  })

  it.each([
    [new ApiError(400, 'InvalidInput', 'm', 'h', 'name'), EXIT.usage],
    [new ApiError(400, 'LimitExceeded', 'm', 'h'), EXIT.refused],
    [new ApiError(400, 'InvalidState', 'm', 'h'), EXIT.refused],
    [new ApiError(401, 'Unauthenticated', 'm', 'h'), EXIT.refused],
    [new ApiError(404, 'NotFound', 'm', 'h'), EXIT.refused],
    [new ApiError(409, 'OperationInProgress', 'm', 'h'), EXIT.refused],
    [new ApiError(503, 'Unavailable', 'm', 'h'), EXIT.unreachable],
    [new ApiError(500, 'Internal', 'm', 'h'), EXIT.failed],
    [new Unreachable('m', 'h'), EXIT.unreachable],
    [new CoppiceError('SourceRefused', 'm'), EXIT.usage],
    [new OperationFailed({ ...operation, state: 'CANCELLED' }, null), EXIT.failed],
    [new Error('a bug'), EXIT.failed],
  ])('%s has its exit code', (error, code) => {
    expect(tellFailure(error).exitCode).toBe(code)
  })
})
