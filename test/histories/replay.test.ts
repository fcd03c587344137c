import { readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { bundleWorkflowCode, DefaultLogger, type ReplayResult, Runtime, Worker } from '@temporalio/worker'
import { beforeAll, describe, expect, it } from 'vitest'
import { OPERATION_TYPES } from '../../domain/states.ts'

/**
 * Sagas that an earlier version of the program left open must go on under this one (R14.2): the workflows of today are
 * run against what Temporal kept of runs of then, and have to ask for the same steps in the same order.
 * `scripts/record-histories.ts` has recorded them.
 */
type Stored = { name: string; type: string; workflowId: string; history: unknown; events: Event[] }
type Event = {
  eventType: string
  workflowExecutionStartedEventAttributes?: { workflowId: string; workflowType: { name: string } }
}

const silent = () => {}
const histories = readHistories()
const failures = new Map<string, ReplayResult['error']>()

beforeAll(async () => {
  // What a replay has to say of a mismatch comes as its error.
  Runtime.install({ logger: new DefaultLogger('ERROR', silent) })
  const workflowBundle = await bundleWorkflowCode({
    workflowsPath: join(import.meta.dirname, '..', '..', 'workflows', 'index.ts'),
    logger: { log: silent, trace: silent, debug: silent, info: silent, warn: silent, error: silent },
  })
  // One replay a name: several histories are of runs with the same workflow id.
  for (const { name, workflowId, history } of histories)
    for await (const { error } of Worker.runReplayHistories({ workflowBundle }, [
      { workflowId, history: history as never },
    ]))
      failures.set(name, error)
})

describe('sagas of earlier versions', () => {
  for (const { name } of histories)
    it(`R14.2 a run of ${name} goes on under the workflows of today, step by step`, () => {
      expect(failures.has(name)).toBe(true)
      expect(failures.get(name)).toBeUndefined()
    })
})

describe('what is stored', () => {
  it('has every type of operation, to a good end', () => {
    const good = histories.filter(
      ({ events }) => events.at(-1)?.eventType === 'EVENT_TYPE_WORKFLOW_EXECUTION_COMPLETED',
    )
    expect([...new Set(good.map(({ type }) => type))].sort()).toEqual([...OPERATION_TYPES].sort())
  })

  it('has failed ones and cancelled ones', () => {
    const ends = new Set(histories.map(({ events }) => events.at(-1)?.eventType))
    expect(ends).toContain('EVENT_TYPE_WORKFLOW_EXECUTION_FAILED')
    expect(ends).toContain('EVENT_TYPE_WORKFLOW_EXECUTION_CANCELED')
  })

  it('has launchers of every type that people start by hand', () => {
    const launchers = histories.filter(({ workflowId }) => !workflowId.startsWith('app/')).map(({ type }) => type)
    expect(launchers).toEqual(expect.arrayContaining([...OPERATION_TYPES]))
  })
})

function readHistories(): Stored[] {
  const parse = historyParser()
  const folders = readdirSync(import.meta.dirname, { withFileTypes: true }).filter((entry) => entry.isDirectory())
  return folders.flatMap(({ name: folder }) =>
    readdirSync(join(import.meta.dirname, folder)).map((file) => {
      const json = JSON.parse(readFileSync(join(import.meta.dirname, folder, file), 'utf8')) as { events: Event[] }
      const started = json.events[0]?.workflowExecutionStartedEventAttributes
      if (started === undefined) throw new Error(`${folder}/${file} is no history`)
      return {
        name: `${folder}/${file.replace(/\.json$/, '')}`,
        type: started.workflowType.name,
        workflowId: started.workflowId,
        history: parse(json),
        events: json.events,
      }
    }),
  )
}

/**
 * The SDK's own `historyFromJSON` reads with the protobufjs of `@temporalio/common`, and refuses the types of
 * `@temporalio/proto` where npm gave each its own copy ("type must be a Type"). This takes the copy of the types.
 */
function historyParser(): (json: unknown) => unknown {
  const require = createRequire(createRequire(import.meta.url).resolve('@temporalio/proto'))
  const { patchProtobufRoot } = require('@temporalio/proto/lib/patch-protobuf-root')
  const { fromJson } = require('protobufjs/ext/protojson')
  const type = patchProtobufRoot(require('@temporalio/proto')).lookupType('temporal.api.history.v1.History')
  return (json) => fromJson(type, json, { ignoreUnknownFields: true })
}
