/** The pre-installed libraries over a conversion, with the example that is made for it. */

import { cp, mkdtemp, readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { ROOT } from '../../scripts/stack-options.ts'
import { Platform } from '../helpers/platform.ts'

let platform: Platform
let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'coppice-preinstalled-'))
  // Of the real list, what the example needs: all of it takes minutes to download.
  const all = (await readFile(join(ROOT, 'config', 'preinstalled.txt'), 'utf8')).split('\n')
  const list = all.filter((line) => /^(dash|plotly|gunicorn)==/.test(line))
  expect(list).toHaveLength(3)
  await writeFile(join(folder, 'preinstalled.txt'), `${list.join('\n')}\n`)
  platform = await Platform.start({ env: { COPPICE_PREINSTALLED: join(folder, 'preinstalled.txt') } })
  await cp(join(ROOT, 'examples', 'dash-board'), join(platform.sources, 'dash-board'), { recursive: true })
})
afterAll(async () => {
  await platform?.stop()
  await removeTree(folder)
})

const update = async (mask: string, app: object): Promise<void> => {
  const { body } = await platform.stack.api('POST', '/api/2.0/apps/board/update', { app, update_mask: mask })
  if (body.operation !== undefined) expect((await platform.ended(body.operation)).failure).toBeUndefined()
  else expect(body.status.state).toBe('SUCCEEDED')
}
const page = async (): Promise<string> => {
  const { body } = await platform.stack.api('GET', '/api/2.0/apps/board')
  return (await fetch(body.urls.at(-1))).text()
}
/** Packages are downloaded and compiled: a minute is not much on a machine that does other things, too. */
const deploy = async () => platform.ended(await platform.beginDeploy('board', { source: 'dash-board' }), 240_000)
/** What the page asks for when somebody moves the slider. */
const draw = async (): Promise<string> => {
  const { body } = await platform.stack.api('GET', '/api/2.0/apps/board')
  const figures = ['growth', 'harvest'].map((id) => ({ id, property: 'figure' }))
  const answer = await fetch(`${body.urls.at(-1)}/_dash-update-component`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      output: '..growth.figure...harvest.figure..',
      outputs: figures,
      inputs: [
        { id: 'rotation', property: 'value', value: 8 },
        { id: 'species', property: 'value', value: ['hazel'] },
      ],
      changedPropIds: [],
    }),
  })
  return answer.text()
}
const COUNTS = 'compute_min_instances,compute_max_instances'
const counts = (n: number) => ({ compute_min_instances: n, compute_max_instances: n })

it('R3.2 R5.4 a converted app keeps the libraries; after its opt-out it runs on untouched, and the next build is clean', {
  timeout: 300_000,
}, async () => {
  await platform.stack.api('POST', '/api/2.0/apps', { name: 'board' })
  const deployed = await deploy()
  expect(deployed.failure).toBeUndefined()
  expect(await page()).toContain('Coppice wood')
  expect(await draw()).toContain('Height of the stems')

  await update(COUNTS, counts(1))
  await update(COUNTS, counts(2))
  expect(await page()).toContain('Coppice wood')
  // A deployment of the converted app has them still.
  expect((await deploy()).failure).toBeUndefined()

  const before = platform.processes().map(({ pid }) => pid)
  await update('compatibility_flags', { compatibility_flags: [] })
  expect(platform.processes().map(({ pid }) => pid)).toEqual(before)
  expect(await page()).toContain('Coppice wood')
  expect((await platform.stack.api('POST', '/api/coppice/v1/apps/board/restart')).status).toBe(200)
  expect((await platform.ended((await platform.lastOperation('board')).id)).state).toBe('SUCCEEDED')

  // Clean: there is no gunicorn now, and the old version serves on.
  const clean = await deploy()
  expect(clean).toMatchObject({ state: 'FAILED', failure: { message: expect.stringMatching(/gunicorn/) } })
  expect(await page()).toContain('Coppice wood')
  await writeFile(join(platform.sources, 'dash-board', 'requirements.txt'), 'dash==2.18.1\ngunicorn==23.0.0\n')
  expect((await deploy()).failure).toBeUndefined()
  expect(await page()).toContain('Coppice wood')
})
