import { describe, expect, it } from 'vitest'
import { endCommand, foreignLock, type LockFacts, type LockHolder, lockMemo, whyForeign } from './app-lock.ts'

const at = Date.UTC(2026, 0, 1)
const holder: LockHolder = {
  workflowId: 'app/shop',
  runId: 'run-1',
  type: 'deploy',
  taskQueue: 'coppice',
  startTime: new Date(at),
}
const facts: LockFacts = { inventory: 'ours', known: false, now: at + 60_000 }
const place = { address: '127.0.0.1:7233', namespace: 'default' }

describe('R10.3 who holds the workflow id of an app', () => {
  it.each<[string, Partial<LockHolder>, Partial<LockFacts>, RegExp | null]>([
    ['an operation of the inventory', {}, { known: true }, null],
    ['one that was started a moment ago', {}, { now: at + 4_999 }, null],
    ['one that the clock puts into the future', {}, { now: at - 3_600_000 }, null],
    ['one of ours a moment ago', { memo: lockMemo('ours') }, { now: at }, null],
    ['another queue, however young', { taskQueue: 'reports' }, { now: at }, /task queue "reports"/],
    ['another platform, however young', { memo: lockMemo('theirs') }, { now: at }, /another platform.*theirs/],
    ['another type', { type: 'nightly' }, {}, /no operation has its type/],
    ['another type a moment ago, which the worker answers', { type: 'nightly' }, { now: at }, null],
    ['a run that nobody wrote down', {}, {}, /has no operation of this run/],
    ['one of ours that nobody wrote down', { memo: lockMemo('ours') }, {}, /has no operation of this run/],
  ])('%s', (_words, its, known, why) => {
    const said = whyForeign({ ...holder, ...its }, { ...facts, ...known })
    if (why === null) expect(said).toBeNull()
    else expect(said).toMatch(why)
  })

  it('the refusal says what holds it, why nothing can begin, and how to end it', () => {
    const { code, message, details } = foreignLock('shop', { ...holder, type: 'nightly' }, 'no operation has it', place)
    expect(code).toBe('ForeignWorkflow')
    expect(message).toContain('app/shop, which only one operation at a time can have')
    expect(message).toContain('"nightly", run run-1, since 2026-01-01T00:00:00.000Z')
    expect(message).toMatch(/To end it: "temporal workflow terminate .*--workflow-id app\/shop --run-id run-1"$/)
    expect(details).toMatchObject({ app: 'shop', run: 'run-1', type: 'nightly' })
  })

  it('the command to end it is safe to paste, whatever somebody has called a workflow', () => {
    const command = endCommand({ ...holder, workflowId: "app/$(reboot) 'x'" }, place)
    expect(command).toContain(String.raw`--workflow-id 'app/$(reboot) '\''x'\''' --run-id`)
  })
})
