/** How an app is checked, set on every way there is, on the real stack. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { Platform } from '../helpers/platform.ts'
import { coppice } from './cli.ts'

let platform: Platform
beforeAll(async () => {
  platform = await Platform.start()
})
afterAll(() => platform?.stop())

const cli = (...args: string[]) => coppice(args, { home: platform.stack.home }).ended
const done = async (...args: string[]) => {
  const ran = await cli(...args)
  expect(ran, ran.err).toMatchObject({ code: 0 })
  return ran
}
const health = async () => (await platform.stack.api('GET', '/api/2.0/apps/checked')).body.health_check

/** Well at one path, not found at every other: whether it gets healthy says which one it was asked. */
async function write(wellAt: string): Promise<void> {
  await platform.write('checked')
  await writeFile(
    join(platform.sources, 'checked', 'server.mjs'),
    `import { createServer } from 'node:http'
createServer((request, response) => {
  response.statusCode = request.url === '${wellAt}' ? 200 : 404
  response.end('{}')
}).listen(process.env.DATABRICKS_APP_PORT, '0.0.0.0')`,
  )
}
const deploy = (...flags: string[]) => cli('apps', 'deploy', 'checked', '--source-code-path', 'checked', ...flags)

it('R12.2 the health check of an app outlives deployments that name none, and those that fail; a rollback brings that of its own', async () => {
  await write('/one')
  await done('apps', 'deploy', 'checked', '--source-code-path', 'checked', '--instances', '2', '--health-path', '/one')
  expect(await health()).toEqual({ path: '/one', timeout: '60s', silence_timeout: '15s' })
  const { out } = await done('apps', 'get', 'checked')
  expect(out).toContain('/one is answered below 400, within 60s of a start; given up after 15s of silence')

  // Named by nobody, and asked all the same: an app without that path does not take over.
  await write('/two')
  const failed = await deploy('--health-timeout', '2', '--silence-timeout', '600')
  expect(failed.code).not.toBe(0)
  expect(failed.err).toContain('The health check of /one was answered with status 404')
  expect(await health()).toEqual({ path: '/one', timeout: '60s', silence_timeout: '15s' })

  await done(
    'apps',
    'deploy',
    'checked',
    '--source-code-path',
    'checked',
    '--health-path',
    '/two',
    '--silence-timeout',
    '2.5',
  )
  expect(await health()).toEqual({ path: '/two', timeout: '60s', silence_timeout: '2.5s' })
  await done('apps', 'rollback', 'checked')
  expect(await health()).toEqual({ path: '/one', timeout: '60s', silence_timeout: '15s' })
})

it('R12.2 the limit of an app is changed without a deployment, restarts nothing, and is told when it makes no sense', async () => {
  const pids = () =>
    platform
      .processes()
      .map(({ pid }) => pid)
      .sort()
  const before = pids()
  await done('apps', 'update', 'checked', '--silence-timeout', '120', '--no-health-path')
  expect(await health()).toEqual({ timeout: '60s', silence_timeout: '120s' })
  expect(pids()).toEqual(before)
  const refused = await cli('apps', 'update', 'checked', '--silence-timeout', '3601')
  expect(refused.code).not.toBe(0)
  expect(refused.err).toContain('health_check.silence_timeout: must be from "1s" to "3600s"')
})

it('R10.5 the temporal program alone sets it too, and is refused what makes no sense', async () => {
  const execute = (healthCheck: object) =>
    platform.temporal(
      ...['workflow', 'execute', '--task-queue', 'coppice', '--type', 'deploy', '--input'],
      JSON.stringify({ app: 'checked', sourceCodePath: 'checked', healthCheck }),
    )
  const refused = await execute({ silenceTimeout: '0.5s' })
  expect(refused.out).toContain('healthCheck.silenceTimeout: must be from "1s" to "3600s"')
  expect((await execute({ path: '/two', silenceTimeout: '3600s' })).code).toBe(0)
  expect(await health()).toEqual({ path: '/two', timeout: '60s', silence_timeout: '3600s' })
})
