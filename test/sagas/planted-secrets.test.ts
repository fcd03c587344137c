/**
 * R3.7: secrets and environment values are planted, the app goes through everything that can happen to it, and then
 * whatever is on the disk, in the process table and in the answers is searched for them.
 */
import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { coppice } from '../cli/cli.ts'
import { Platform } from '../helpers/platform.ts'

const plant = (what: string) => `${what}${randomBytes(12).toString('hex')}`
/** 24 characters and more, so that their base64 is found at each of its three alignments. */
const PLANTED = {
  environment: plant('environment'),
  secret: plant('secret'),
  rotated: plant('rotated'),
  ofTheSource: plant('valuefrom'),
}

let platform: Platform
const answers: string[] = []

async function api(method: string, path: string, body?: unknown) {
  const answer = await platform.stack.api(method, path, body)
  answers.push(JSON.stringify(answer.body))
  return answer
}

async function setSecret(name: string, value: string): Promise<void> {
  const ran = await coppice(['apps', 'secrets', 'set', 'vault', name], { home: platform.stack.home, stdin: value })
    .ended
  expect(ran, ran.err).toMatchObject({ code: 0 })
  answers.push(ran.out, ran.err)
}

const ended = async (id: string, state = 'SUCCEEDED') => {
  const operation = await platform.ended(id)
  expect(operation).toMatchObject({ state })
  answers.push(JSON.stringify(operation))
}

const body = {
  env_vars: [
    { name: 'PLAIN', value: PLANTED.environment },
    { name: 'TOLD', value_from: 'told' },
  ],
}

beforeAll(async () => {
  platform = await Platform.start()
  await platform.write('vault', { version: '1' })
  await api('POST', '/api/2.0/apps', { name: 'vault' })
  await setSecret('told', PLANTED.secret)
  await setSecret('from-source', PLANTED.ofTheSource)
  await ended(await platform.beginDeploy('vault', { body }))
  const counts = (n: number) => ({
    app: { compute_min_instances: n, compute_max_instances: n },
    update_mask: 'compute_min_instances,compute_max_instances',
  })
  for (const n of [1, 2]) await ended((await api('POST', '/api/2.0/apps/vault/update', counts(n))).body.operation)
  await setSecret('told', PLANTED.rotated)
  await ended((await api('POST', '/api/coppice/v1/apps/vault/restart')).body.operation)
  await platform.write('vault', { behaviour: 'crashes at start' })
  await ended(await platform.beginDeploy('vault', { body }), 'FAILED')
  await platform.write('vault', { version: '2' })
  await ended(await platform.beginDeploy('vault', { body }))
  await ended((await api('POST', '/api/coppice/v1/apps/vault/rollback')).body.operation)
  const copy = { name: 'vault-copy', with_secrets: true, start: true }
  await ended((await api('POST', '/api/coppice/v1/apps/vault/duplicate', copy)).body.operation)
})
afterAll(() => platform?.stop())

/** As it is, in hexadecimal digits, and in base64 whatever stands before it. */
const NEEDLES = Object.entries(PLANTED).flatMap(([what, value]) => [
  { what, needle: value },
  { what, needle: Buffer.from(value).toString('hex') },
  ...[0, 1, 2].map((shift) => ({
    what,
    needle: Buffer.from('\0'.repeat(shift) + value)
      .toString('base64')
      .slice(shift === 0 ? 0 : 4, -4),
  })),
])
const findings = (where: string, content: Buffer | string): string[] =>
  NEEDLES.filter(({ needle }) => content.includes(needle)).map(({ what }) => `${what} in ${where}`)

describe('R3.7 planted secrets and environment values', () => {
  it('are in the environment of the app, the rotated one instead of the first', () => {
    const instances = platform.processes()
    expect(new Set(instances.map(({ instance }) => instance)).size).toBe(4)
    for (const { pid } of instances) {
      const environment = readFileSync(`/proc/${pid}/environ`, 'utf8')
      expect(environment).toContain(`PLAIN=${PLANTED.environment}\0`)
      expect(environment).toContain(`TOLD=${PLANTED.rotated}\0`)
      expect(environment).not.toContain(PLANTED.secret)
    }
  })

  it("are in no file of the data directory: not in Temporal's database, the inventory, a log, an artifact", async () => {
    const found: string[] = []
    const searched: string[] = []
    const entries = await readdir(platform.stack.home, { recursive: true, withFileTypes: true })
    for (const entry of entries.filter((each) => each.isFile())) {
      const path = join(entry.parentPath, entry.name)
      const content = await readFile(path).catch(() => null)
      if (content === null) continue
      searched.push(path.slice(platform.stack.home.length + 1))
      found.push(...findings(path, content))
    }
    expect(found).toEqual([])
    // What is searched is there, and says what it says in clear text.
    for (const part of [
      /^inventory\.db$/,
      /^temporal\/.*\.db/,
      /^logs\/worker\.log$/,
      /^logs\/instances\/vault-.*\.log$/,
    ])
      expect(searched.some((path) => part.test(path))).toBe(true)
    const temporal = entries.filter((each) => each.parentPath.endsWith('/temporal') && each.name.includes('.db'))
    const databases = await Promise.all(temporal.map((each) => readFile(join(each.parentPath, each.name))))
    expect(databases.some((content) => content.includes('app/vault-copy'))).toBe(true)
  })

  it('are in no command line of any process', () => {
    const found: string[] = []
    for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
      try {
        found.push(...findings(`cmdline of ${pid}`, readFileSync(`/proc/${pid}/cmdline`)))
      } catch {
        // It has ended meanwhile.
      }
    }
    expect(found).toEqual([])
  })

  it('are in no answer of the API or the command line, and in no event', async () => {
    const paths = [
      '/api/2.0/apps',
      ...['vault', 'vault-copy'].flatMap((app) => [
        `/api/2.0/apps/${app}`,
        `/api/2.0/apps/${app}/update`,
        `/api/2.0/apps/${app}/deployments`,
        `/api/coppice/v1/apps/${app}/secrets`,
        `/api/coppice/v1/apps/${app}/instances`,
        `/api/coppice/v1/apps/${app}/logs`,
        `/api/coppice/v1/operations?app=${app}`,
      ]),
      '/api/coppice/v1/artifacts',
      '/api/coppice/v1/doctor',
    ]
    for (const path of paths) expect((await api('GET', path)).status).toBe(200)
    const last = await platform.event('vault-copy', (event) => {
      answers.push(JSON.stringify(event))
      return event.data?.state === 'SUCCEEDED'
    })
    await platform.event('vault', (event) => {
      answers.push(JSON.stringify(event))
      return event.message.startsWith('rollback') && event.data?.state === 'SUCCEEDED'
    })
    expect(last.message).toContain('start of vault-copy')
    expect(answers.flatMap((answer) => findings(answer.slice(0, 80), answer))).toEqual([])
    expect(answers.some((answer) => answer.includes('"PLAIN"'))).toBe(true)
  })
})
