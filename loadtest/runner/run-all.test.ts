import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Stack, StartStackOptions } from '../../scripts/stack/stack.ts'
import { homePaths } from '../../scripts/stack-options.ts'
import { conclude, EXIT, exitCode, isInterruption, runAll } from './run-all.ts'
import type { ScenarioResult } from './run-scenario.ts'
import { OwnStack, type Target } from './target.ts'

const result = (outcome: string) => ({ verdict: { outcome } }) as ScenarioResult

function attempt(more: { leave?: () => Promise<void>; run?: () => Promise<ScenarioResult>; abort?: AbortController }) {
  const { leave = async () => {}, run = async () => result('held'), abort = new AbortController() } = more
  const left: string[] = []
  const parts = {
    targetOf: async (name: string) => {
      const target: Partial<Target> = {
        leave: () => {
          left.push(name)
          return leave()
        },
      }
      return target as Target
    },
    run,
    leaves: () => true,
    signal: abort.signal,
    onResult: () => {},
  }
  return { left, done: runAll(['resize', 'deploy'], parts), signal: abort.signal }
}

describe('all scenarios', () => {
  it('R10.1 what goes wrong with giving the app back is a failure also of a run that was interrupted', async () => {
    const abort = new AbortController()
    const refused = new Error('a has 5 instances and had 2')
    const run = async () => {
      abort.abort(new Error('interrupted'))
      return result('unfit')
    }
    const { done, signal, left } = attempt({ abort, run, leave: () => Promise.reject(refused) })
    const attempted = await done
    expect(attempted.failures).toEqual([refused])
    expect(attempted.results).toHaveLength(1)
    expect(left).toEqual(['resize'])
    expect(exitCode(attempted, signal)).toBe(EXIT.interrupted)
  })

  it('the app is given back after a scenario that failed, and both failures are told', async () => {
    const { done, signal, left } = attempt({
      run: () => Promise.reject(new Error('k6 ended')),
      leave: () => Promise.reject(new Error('a has 5')),
    })
    const attempted = await done
    expect(attempted.failures.map(({ message }) => message)).toEqual(['k6 ended', 'a has 5'])
    expect(left).toEqual(['resize'])
    expect(exitCode(attempted, signal)).toBe(EXIT.failed)
  })

  it('an interruption is no failure', async () => {
    const abort = new AbortController()
    const run = async () => {
      abort.abort(new Error('interrupted'))
      abort.signal.throwIfAborted()
      return result('held')
    }
    const attempted = await attempt({ abort, run }).done
    expect(attempted).toEqual({ results: [], failures: [] })
  })

  it('R11.1 the worst verdict decides', async () => {
    const of = (...outcomes: string[]) =>
      exitCode({ results: outcomes.map(result), failures: [] }, new AbortController().signal)
    expect([of('held', 'held'), of('held', 'unfit'), of('unfit', 'broken', 'held')]).toEqual([0, 75, 99])
    expect(of()).toBe(EXIT.unfit)
  })
})

describe('what comes after the scenarios', () => {
  const refuse = (words: string) => () => Promise.reject(new Error(words))
  const nothing = async () => {}

  it('R11.2 all of it is done whatever fails before, and told with what has failed in the run', async () => {
    const attempted = { results: [result('held')], failures: [new Error('k6 ended')] }
    const done: string[] = []
    const code = await conclude(attempted, {
      report: refuse('no space left on device'),
      goOn: async () => void done.push('went on'),
      stop: refuse('Instances are left on /home: i-1'),
      signal: new AbortController().signal,
    })
    expect(done).toEqual(['went on'])
    expect(attempted.failures.map(({ message }) => message)).toEqual([
      'k6 ended',
      'no space left on device',
      'Instances are left on /home: i-1',
    ])
    expect(code).toBe(EXIT.failed)
  })

  it('a run of which something is left is not green, also when it was interrupted', async () => {
    const stop = refuse('Instances are left on /home: i-1')
    const codeOf = (signal: AbortSignal) =>
      conclude({ results: [result('held')], failures: [] }, { report: nothing, goOn: nothing, stop, signal })
    expect(await codeOf(new AbortController().signal)).toBe(EXIT.failed)
    expect(await codeOf(AbortSignal.abort())).toBe(EXIT.interrupted)
  })

  it('Ctrl-C to what went on running after the last scenario is no interruption', async () => {
    const abort = new AbortController()
    const goOn = async () => abort.abort(new Error('interrupted'))
    const parts = { report: nothing, goOn, stop: nothing, signal: abort.signal }
    expect(await conclude({ results: [result('held')], failures: [] }, parts)).toBe(EXIT.held)
  })
})

describe('a stack of its own', () => {
  let temporary: string
  beforeEach(async () => {
    temporary = await mkdtemp(join(tmpdir(), 'coppice-run-all-'))
    vi.stubEnv('TMPDIR', temporary)
  })
  afterEach(async () => {
    vi.unstubAllEnvs()
    await rm(temporary, { recursive: true })
  })

  it('R11.2 that does not start, or is interrupted meanwhile, leaves no folder with its token, and says why it failed', async () => {
    const abort = new AbortController()
    const failing = async ({ home }: StartStackOptions) => {
      // As the real one, which makes the token first.
      expect(home.startsWith(temporary)).toBe(true)
      throw new Error('no port is free')
    }
    await expect(OwnStack.start(() => {}, abort.signal, failing)).rejects.toThrow('no port is free')
    const interrupted = async () => {
      abort.abort(new Error('interrupted'))
      throw new Error('temporal ended')
    }
    await expect(OwnStack.start(() => {}, abort.signal, interrupted)).rejects.toThrow('interrupted')
    expect(await readdir(temporary)).toEqual([])
  })
  it('R11.2 of which something is left keeps its folder without the token, and says where, besides why it failed', async () => {
    const abort = new AbortController()
    const begin = async ({ home }: StartStackOptions) => {
      await mkdir(homePaths(home).logs, { recursive: true })
      await writeFile(homePaths(home).token, 'secret')
      const stop = () => Promise.reject(new Error('Instances are left: i-1'))
      abort.abort(new Error('interrupted'))
      // Of the start the second router fails: nothing answers there.
      return { home, apiUrl: 'http://127.0.0.1:9', token: 'secret', stop } as Partial<Stack> as Stack
    }
    const failure = await OwnStack.start(() => {}, abort.signal, begin).then(
      () => null,
      (error: Error) => error,
    )
    expect(failure?.message).toContain('Instances are left: i-1')
    const [folder] = (await readdir(temporary)) as [string]
    const home = join(temporary, folder, 'home')
    expect(failure?.message).toContain(`npx coppice --home ${home} down --purge`)
    expect(failure?.cause).toBeInstanceOf(Error)
    expect(await readdir(home)).toEqual(['logs'])
    // It has to be told, too, so it must not look like a mere interruption.
    expect(isInterruption(failure as Error, abort.signal)).toBe(false)
  })
})
