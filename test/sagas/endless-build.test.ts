import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Platform } from '../helpers/platform.ts'

let platform: Platform
/** Accepts, and never answers. */
let index: Server
beforeAll(async () => {
  index = createServer(() => {}).listen(0, '127.0.0.1')
  await once(index, 'listening')
  platform = await Platform.start({ env: { COPPICE_BUILD_TIMEOUT_MS: '4000' } })
})
afterAll(async () => {
  await platform?.stop()
  index.close()
})

describe('R3.6 a build without an end', () => {
  it.each([
    [
      'that watches its files',
      'watching',
      { build: `node -e 'console.log("watching"); setInterval(() => 0, 1e6)'` },
      {},
    ],
    ['whose package index never answers', 'waiting', {}, { far: 'INDEX/far.tgz' }],
  ])('%s is tried once, ended, and told as what it is', async (_, app, scripts, dependencies) => {
    const url = `http://127.0.0.1:${(index.address() as AddressInfo).port}`
    await platform.write(app)
    await writeFile(
      join(platform.sources, app, 'package.json'),
      JSON.stringify({ name: app, scripts, dependencies }).replace('INDEX', url),
    )
    const operation = await platform.deploy(app)
    expect(operation).toMatchObject({ state: 'FAILED', phase: 'compensable', failure: { code: 'BuildFailed' } })
    const { failure } = operation
    expect(failure?.message).toMatch(/^The build did not end within 4 s and was given up, at: .*npm.*--watch.*index/)
    expect(failure?.log_lines?.join('\n')).toMatch(/^\$ npm /)
    const { body } = await platform.stack.api('GET', `/api/2.0/apps/${app}/deployments`)
    const [{ deployment_id: deployment }] = body.app_deployments
    const log = await readFile(join(platform.stack.home, 'logs', 'builds', app, `build-${deployment}.log`), 'utf8')
    expect(log.match(/did not end/g)).toHaveLength(1)
  })
})
