import { execFileSync } from 'node:child_process'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, expect, it } from 'vitest'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { freePorts } from '../../scripts/stack/ports.ts'
import { run, startPlatform } from '../cli/cli.ts'
import { isRunning } from '../conformance/provider.ts'
import { ask } from '../helpers/load.ts'

const started: string[] = []
let folder: string | undefined
afterEach(async () => {
  for (const home of started.splice(0)) {
    await run({ home }, 'down', '--purge')
    await removeTree(home)
  }
  if (folder !== undefined) await removeTree(folder)
})

async function instancesOf(home: string): Promise<number[]> {
  const { out } = await run({ home }, '-o', 'json', 'apps', 'get', 'hello')
  return (JSON.parse(out).instances as Array<{ pid: number }>).map(({ pid }) => pid)
}

it('R14.3 a copy of the data directory of a running platform serves by instances of its own from its first answer on', async () => {
  const original = await startPlatform()
  started.push(original.home)
  const theirs = await instancesOf(original.home)
  folder = await mkdtemp(join(tmpdir(), 'coppice-copy-'))
  const home = join(folder, 'copy')
  execFileSync('cp', ['-a', original.home, home])
  const [port] = (await freePorts(1)) as [number]
  const answers: number[] = []
  let isUp = false
  const asking = (async () => {
    while (!isUp || answers.length === 0) {
      const answer = await ask(`http://127.0.0.1:${port}/`, { host: 'hello.localhost' })
      if (answer.status === 200) answers.push(answer.body.pid as number)
      await sleep(20)
    }
  })()
  started.unshift(home)
  await startPlatform({ home, port })
  isUp = true
  await asking
  const own = await instancesOf(home)
  expect(own).toHaveLength(2)
  expect(answers.filter((pid) => theirs.includes(pid))).toEqual([])
  expect(answers.every((pid) => own.includes(pid))).toBe(true)
  const down = await run({ home }, 'down', '--purge')
  expect(down, down.err).toMatchObject({ code: 0 })
  expect(own.filter(isRunning)).toEqual([])
  expect(theirs.filter(isRunning)).toEqual(theirs)
  expect(await instancesOf(original.home)).toEqual(theirs)
})
