import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { expect, it } from 'vitest'
import { orAborted } from './interruption.ts'
import { ROOT } from './stack-options.ts'

/** Its clock stands still, but for what goes by with each word that it is sent. */
const program = `
  import { onInterruption } from './scripts/interruption.ts'
  let now = 5_000
  performance.now = () => now
  process.stdin.on('data', (ms) => {
    now += Number(ms)
    process.stderr.write('later\\n')
  })
  process.stdin.on('end', () => {
    process.stdout.write('stopped\\n')
    process.exitCode = 7
  })
  onInterruption(
    () => process.stdout.write('stopping\\n'),
    () => 'of which this is left.',
  )
  process.stdout.write('ready\\n')
`

async function interrupted(signal: NodeJS.Signals) {
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], { cwd: ROOT })
  let said = ''
  child.stderr.on('data', (text) => (said += String(text)))
  const ended = once(child, 'exit')
  await once(child.stdout, 'data')
  child.kill(signal)
  const [word] = await once(child.stdout, 'data')
  expect(String(word)).toBe('stopping\n')
  const passes = async (ms: number) => {
    child.stdin.write(String(ms))
    await expect.poll(() => said).toContain('later\n')
  }
  return { child, ended, passes, said: () => said }
}

const SIGNALS = [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const

it.each(SIGNALS)(
  'R11.2 %s asks for an orderly end; what npm passes on of it ends nothing, also where nobody takes the words any more',
  async (signal) => {
    const { child, ended, passes } = await interrupted(signal)
    await passes(1_000)
    child.stdout.destroy()
    child.kill(signal)
    child.kill('SIGTERM')
    child.stdin.end()
    expect(await ended).toEqual([7, null])
  },
)

it.each(SIGNALS)(
  'a second %s that is meant as one ends at once, with %i, and says what is left',
  async (signal, code) => {
    const { child, ended, passes, said } = await interrupted('SIGINT')
    await passes(1_001)
    child.kill(signal)
    expect(await ended).toEqual([code, null])
    expect(said()).toContain('Ended without waiting; of which this is left.')
  },
)

it('nobody who has interrupted it waits for work that does not end, nor for work that is begun afterwards', async () => {
  const leave = new AbortController()
  const never = new Promise<never>(() => {})
  expect(await orAborted(Promise.resolve(1), leave.signal)).toBe(1)
  const waits = orAborted(never, leave.signal)
  leave.abort(new Error('interrupted'))
  await expect(waits).rejects.toThrow('interrupted')
  await expect(orAborted(never, leave.signal)).rejects.toThrow('interrupted')
  // Neither does it leave a rejection behind that nobody handles, which would end the process.
  await expect(orAborted(Promise.reject(new Error('late')), leave.signal)).rejects.toThrow('interrupted')
})
