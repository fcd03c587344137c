import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { expect, it } from 'vitest'
import { ROOT } from './stack-options.ts'

const program = `
  import { onInterruption } from './scripts/interruption.ts'
  let times = 0
  const alive = setInterval(() => {}, 1000)
  onInterruption(() => {
    process.stdout.write('stopping\\n')
    if (++times === 2) {
      process.exitCode = 7
      clearInterval(alive)
    }
  })
  process.stdout.write('ready\\n')
`

it.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
  'R11.2 %s asks for an orderly end, the second time too, also where nobody takes the words any more',
  async (signal) => {
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const ended = once(child, 'exit')
    await once(child.stdout, 'data')
    child.kill(signal)
    const [word] = await once(child.stdout, 'data')
    expect(String(word)).toBe('stopping\n')
    child.stdout.destroy()
    child.kill(signal)
    expect(await ended).toEqual([7, null])
  },
)
