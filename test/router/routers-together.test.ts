import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { startTestControl, type TestControl } from '../control/control.ts'
import { ask } from './support/client.ts'
import { type Origin, startOrigin } from './support/origin.ts'
import { type RouterProcess, startRouter, until } from './support/router-process.ts'

/** The real control plane and two real routers; the instances of a deployment are put into the inventory by hand. */
describe('two routers', () => {
  let control: TestControl | null
  let inventory: DatabaseSync
  let origins: [Origin, Origin, Origin]
  let a: RouterProcess
  let b: RouterProcess
  let halted = false

  beforeEach(async () => {
    const started = await startTestControl()
    control = started
    inventory = new DatabaseSync(join(started.home, 'inventory.db'))
    inventory.exec('pragma busy_timeout = 5000')
    origins = [await startOrigin('one'), await startOrigin('two'), await startOrigin('three')]
    for (const name of ['app', 'other']) {
      expect((await started.call('POST', '/api/2.0/apps', { name })).status).toBe(200)
      serve(name, origins[0])
    }
    ;[a, b] = await Promise.all([router('a', started), router('b', started)])
    await until(isTold)
  })
  afterEach(async () => {
    if (halted) goOn()
    inventory.close()
    await Promise.all([a.stop(), b.stop()])
    await control?.stop()
    await Promise.all(origins.map((origin) => origin.close()))
  })

  const router = (name: string, { url, home }: TestControl) =>
    startRouter({
      control: { url, tokenFile: join(home, 'token') },
      args: ['--name', name, '--processes', '2'],
    })
  const published = () =>
    Number((inventory.prepare(`select value from meta where key = 'route_version'`).get() as { value: string }).value)
  /** Whether the control plane has heard from both that they have the table of now: it waits for nobody else. */
  async function isTold(): Promise<boolean> {
    const { body } = await (control as TestControl).call('GET', '/api/coppice/v1/routers')
    const versions = (body.routers as { version: number }[]).map(({ version }) => version)
    return versions.length === 2 && versions.every((version) => version === published())
  }

  /** What the pivot of a deployment does: others serve from now on, in the next version of the table. */
  function serve(app: string, origin: Origin): void {
    inventory.exec(`begin immediate;
      update instances set role = 'draining' where app = '${app}' and role = 'serving';
      insert into instances (id, app, slot, deployment, operation, mode, compute_size, desired, role, observed, address,
        crashes, log_lines, created_at) values ('${app}-${origin.name}', '${app}', 0, 'd', 'o', 'standard', 'MEDIUM', 'running',
        'serving', 'running', '${origin.address}', 0, '[]', 1);
      update meta set value = value + 1 where key = 'route_version';
      update apps set route_version = (select value from meta where key = 'route_version') where name = '${app}';
      commit`)
  }

  /** The process of router b that takes tables stands still, as on a machine without time for it; its others carry traffic. */
  function halt(): void {
    halted = true
    process.kill(b.child.pid as number, 'SIGSTOP')
  }
  function goOn(): void {
    halted = false
    process.kill(b.child.pid as number, 'SIGCONT')
  }

  const who = async (one: RouterProcess, host = 'app.localhost'): Promise<string> => {
    const answer = await ask(one, { host })
    expect(answer.status).toBe(200)
    return answer.json.instance
  }

  /** Router a lets requests wait for the new table, and goes on to do so. */
  const holds = () => until(async () => ((await a.admin('/status')) as { holding: object | null }).holding)

  it('R3.4 put a table into force together: nobody is answered by the old version after the new one', async () => {
    halt()
    serve('app', origins[1])
    await holds()
    const asked = who(a)
    expect(await who(b)).toBe('one')
    expect(await who(a, 'other.localhost')).toBe('one')
    goOn()
    // Not before router b lets its requests wait, too.
    expect(await asked).toBe('two')
    for (let n = 0; n < 20; n++) expect(await who(b)).toBe('two')
    await until(isTold)
  })

  it('R12.10 go on without one that hangs, and without the control plane that would give the word', async () => {
    halt()
    serve('app', origins[1])
    await until(async () => (await who(a)) === 'two')
    goOn()
    await until(async () => (await who(b)) === 'two')
    await until(isTold)
    halt()
    serve('app', origins[2])
    await holds()
    const asked = who(a)
    await control?.stop()
    control = null
    expect(await asked).toBe('three')
    goOn()
    await until(async () => (await who(b)) === 'three')
  })
})
