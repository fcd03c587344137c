/** Each scenario in its quick form, on one stack: real Temporal, two real routers, real k6. */

import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { describeFinding } from '../../loadtest/check/finding.ts'
import { runScenario, type ScenarioResult } from '../../loadtest/runner/run-scenario.ts'
import { OwnStack } from '../../loadtest/runner/target.ts'
import { SCENARIOS, type Scenario } from '../../loadtest/scenarios.ts'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { resolveTool } from '../../scripts/toolchain/resolve.ts'

const seed = Number(process.env.LOADTEST_SEED ?? 1 + Math.floor(Math.random() * 999_999))

let stack: OwnStack
let k6: string
let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'coppice-loadtest-test-'))
  k6 = (await resolveTool('k6')).path
  stack = await OwnStack.start(() => {})
}, 600_000)
afterAll(async () => {
  await stack?.stop()
  await removeTree(folder)
})

async function run(name: string): Promise<ScenarioResult> {
  const scenario = SCENARIOS[name] as Scenario
  const target = await stack.deploy(name, scenario.instances, () => {})
  try {
    return await runScenario({
      name,
      scenario,
      load: scenario.quick,
      seed,
      target,
      k6,
      folder: join(folder, name),
      say: () => {},
      signal: new AbortController().signal,
    })
  } finally {
    await target.leave()
  }
}

/** What was broken, with the metric and a first finding, and why nothing was proved; empty when all held. */
function complaints({ verdict, world }: ScenarioResult): string[] {
  const broken = verdict.rows.filter(({ count }) => count > 0)
  const found = broken.map(({ name, count, findings }) =>
    [`${name}: ${count} (seed ${seed})`, ...findings.slice(0, 3).map(describeFinding)].join('\n  '),
  )
  const faults = found.length > 0 ? world.faults.map((fault) => `  ${JSON.stringify(fault)}`) : []
  return [...verdict.unfit.map((why) => `unfit (seed ${seed}): ${why}`), ...found, ...faults]
}

function expectHeld(result: ScenarioResult): void {
  // As the message, too: of long lists vitest's own shows only the length, and breaks look for the metric in it.
  const found = complaints(result)
  expect(found, found.join('\n')).toEqual([])
}

describe('under load', () => {
  it('R7.1 R7.2 R7.4 R8.1 R1.1 every client stays with its instance, through two routers', async () => {
    const result = await run('affinity')
    expectHeld(result)
    expect(result.moves.moved).toBe(0)
    expect(new Set(result.history.map(({ kind }) => kind))).toEqual(new Set(['browser', 'cookie', 'header']))
    expect(new Set(result.history.map(({ slot }) => slot))).toEqual(new Set([0, 1, 2]))
    expect(new Set(result.history.map(({ router }) => router))).toEqual(new Set([0, 1]))
  })

  it('R1.2 R12.1 R12.2 SIGKILL of one instance, SIGSTOP of another and a busy one lose no request that may be repeated', async () => {
    const result = await run('failover')
    expectHeld(result)
    expect(result.marks.map(({ words }) => words.split(' ')[0])).toEqual(['SIGKILL', 'SIGSTOP', 'handler'])
  })

  it('R8.1 R8.2 R8.3 the sessions of an instance that is lost, leaves or joins move, and no others', async () => {
    const result = await run('reassignment')
    expectHeld(result)
    expect(result.moves.moved).toBeGreaterThan(0)
    expect(result.world.operations.map(({ type }) => type)).toEqual(['resize', 'resize'])
    expect(result.skipped).toEqual([])
  })

  it('R3.3 R3.4 R6.2 a deployment costs no request and moves nobody, and one that fails changes nothing', async () => {
    const result = await run('deploy')
    expectHeld(result)
    expect(result.moves.moved).toBe(0)
    expect(new Set(result.history.map(({ version }) => version))).toEqual(new Set(['1', '2']))
  })

  it('R7.3 R6.2 sockets, streams and uploads stay with their session, and come back to its slot', async () => {
    const result = await run('websocket')
    expectHeld(result)
    expect(result.history.filter(({ kind }) => kind === 'socket').length).toBeGreaterThan(20)
  })

  it('R6.1 R6.2 R8.2 a change of the number of instances costs no request and moves only those that must', async () => {
    const result = await run('resize')
    expectHeld(result)
    expect(new Set(result.history.map(({ slot }) => slot))).toEqual(new Set([0, 1, 2, 3, 4]))
  })

  it('R5.1 R5.2 R5.3 a conversion to a scaled app, and back from several instances, costs no request', async () => {
    const result = await run('convert')
    expectHeld(result)
    expect(result.world.operations.map(({ type }) => type)).toEqual(['convert', 'resize', 'convert'])
    expect(new Set(result.world.tables.map(({ affinity }) => affinity))).toEqual(new Set([false, true]))
  })

  it('R10.2 R12.1 R12.2 faults and changes in an order drawn from the seed cost nothing and leave nothing behind', async () => {
    const result = await run('soak')
    expectHeld(result)
    expect(result.marks.length).toBeGreaterThan(2)
  })
})
