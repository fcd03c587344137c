import { execFile } from 'node:child_process'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { resolveTool } from '../../scripts/toolchain/resolve.ts'
import { startTestStack, type TestStack } from '../helpers/stack.ts'

/** The product's own client, unmodified from PyPI (Apache-2.0): the driver of conformance. */
const SDK = 'databricks-sdk==0.156.0'

let stack: TestStack
let folder: string
let facts: Record<string, unknown>

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'coppice-sdk-'))
  stack = await startTestStack()
  const { path: uv } = await resolveTool('uv')
  const script = join(import.meta.dirname, 'python_sdk.py')
  const { stdout } = await promisify(execFile)(uv, ['run', '--no-project', '--quiet', '--with', SDK, script], {
    cwd: folder,
    env: {
      ...process.env,
      DATABRICKS_HOST: stack.apiUrl,
      DATABRICKS_TOKEN: stack.token,
      DATABRICKS_CONFIG_FILE: join(folder, 'none'),
    },
    timeout: 110_000,
  })
  facts = JSON.parse(stdout)
})
afterAll(async () => {
  await stack?.stop()
  await removeTree(folder)
})

describe('the databricks-sdk of PyPI, unmodified,', () => {
  it('signs in with the token', () => expect(facts.me).toBe('admin'))

  it('creates a scaled app and waits for it', () =>
    expect(facts.created).toEqual({ compute: 'ACTIVE', min: 2, max: 2, app: 'UNAVAILABLE' }))

  it('deploys, waits, and sees both instances run', () => {
    expect(facts.deployed).toEqual({ state: 'SUCCEEDED', env: [['HELLO_VERSION', null]], timeout: '30s' })
    expect(facts.running).toEqual({ app: 'RUNNING', running: 2, active: 2 })
  })

  it('R3.3 hears why a deployment failed', () =>
    expect(facts.failed).toMatch(/failed to reach SUCCEEDED.*ended with exit code/))

  it('stops and starts it, with the states that it waits for', () => {
    expect(facts.stopped).toEqual({ compute: 'STOPPED', app: 'UNAVAILABLE', deployment: null })
    expect(facts.started).toEqual({ compute: 'ACTIVE', running: 2 })
  })

  it('R5.0 resizes, converts and converts back by asynchronous updates, waits for each, and hears what is not allowed', () => {
    expect(facts.updated).toEqual({ state: 'SUCCEEDED', max: 3, running: 3 })
    expect(facts.converted).toBe('SUCCEEDED')
    expect(facts.back).toEqual(['SUCCEEDED', null])
    expect(facts['too many at once']).toBe('InvalidState')
  })

  it('pages through apps and deployments', () => {
    expect(facts.apps).toEqual(['other', 'sdk-app'])
    expect(facts.deployments).toBe(2)
  })

  it('R13.3 raises its own exceptions for our errors', () =>
    expect(facts.errors).toEqual({
      taken: 'ResourceAlreadyExists',
      unknown: 'ResourceDoesNotExist',
      name: 'InvalidParameterValue',
      limit: 'BadRequest',
      state: 'InvalidState',
    }))

  it('deletes it and sees it go', () => expect(facts.deleted).toEqual(['DELETING', 'ResourceDoesNotExist']))
})
