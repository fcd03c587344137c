import { execFileSync } from 'node:child_process'
import { copyFile, cp, mkdtemp, open, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises'
import { Agent, createServer } from 'node:http'
import { request as tlsRequest } from 'node:https'
import { createServer as createTcpServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as tlsConnect } from 'node:tls'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { selfSigned } from '../../router/self-signed.ts'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { ask } from './support/client.ts'
import { type Origin, startOrigin } from './support/origin.ts'
import { type RouterProcess, startRouter, until } from './support/router-process.ts'
import { app, table } from './support/tables.ts'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))

type Status = { acknowledged: { version: number } }

describe('life of a router', () => {
  let origins: [Origin, Origin]
  const cleanups: (() => Promise<unknown>)[] = []

  beforeEach(async () => {
    origins = [await startOrigin('a'), await startOrigin('b')]
  })
  afterEach(async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
    await Promise.all(origins.map((origin) => origin.close()))
  })
  const start = async (settings: Parameters<typeof startRouter>[0]): Promise<RouterProcess> => {
    const router = await startRouter(settings)
    cleanups.push(() => router.stop())
    return router
  }

  /** Asks all the time until told to stop; returns what failed. */
  function asking(router: Pick<RouterProcess, 'port'>, agent?: Agent) {
    let on = true
    let asked = 0
    const failures: unknown[] = []
    const ask1 = async (n: number) => {
      while (on) {
        try {
          const answer = await ask(router, { path: '/slow?ms=30', agent, headers: { 'x-routing-key': `k${n}` } })
          if (answer.status !== 200) failures.push(answer.status)
        } catch (error) {
          failures.push(error)
        }
        asked++
      }
    }
    const all = Array.from({ length: 8 }, (_, n) => ask1(n))
    const stop = async () => {
      on = false
      await Promise.all(all)
      return { asked, failures }
    }
    const more = async (count: number) => {
      const wanted = asked + count
      await until(() => asked >= wanted)
    }
    return Object.assign(stop, { more })
  }

  it('R12.8 serves where nothing can be written down, TLS included, and writes all of it down once it can be', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'coppice-router-'))
    // In the place of its folder there is a file: for whoever wants to write, root too, that is like a full disk.
    await writeFile(join(dir, 'state'), '')
    const routes = table(1, app('app', origins))
    const router = await start({ dir, routes, args: ['--tls-self-signed', 'app.localhost'] })
    const status = () =>
      new Promise<number | undefined>((resolve, reject) => {
        const options = { port: router.port, host: '127.0.0.1', rejectUnauthorized: false, agent: false as const }
        const asked = tlsRequest({ ...options, headers: { host: 'app.localhost' } }, (answer) => {
          answer.resume()
          resolve(answer.statusCode)
        })
        asked.once('error', reject)
        asked.end()
      })
    expect(await status()).toBe(200)
    const written = JSON.stringify(router.log)
    for (const words of [
      'the table cannot be stored',
      'the self-signed one cannot be kept',
      'its token cannot be written',
    ])
      expect(written).toContain(words)
    await rm(join(dir, 'state'))
    await until(
      async () => ((await router.admin('/status').catch(() => null)) as Status | null)?.acknowledged.version === 1,
    )
    expect(await status()).toBe(200)
  })

  it('replaces its processes one by one without a refused connection or a cut request, and forgets no count', async () => {
    const router = await start({ routes: table(1, app('app', origins)), args: ['--processes', '2'] })
    const stopAsking = asking(router)
    const counted = await until(async () => requests((await router.admin('/metrics')) as string))
    const before = await router.workers()
    await router.admin('/processes/replace', 'POST')
    const after = await router.workers()
    const { asked, failures } = await stopAsking()
    expect(failures).toEqual([])
    expect(asked).toBeGreaterThan(50)
    expect(after).toHaveLength(2)
    expect(after.filter((pid) => before.includes(pid))).toEqual([])
    expect(requests((await router.admin('/metrics')) as string)).toBeGreaterThanOrEqual(counted)
    await until(async () => requests((await router.admin('/metrics')) as string) === asked)
  })

  it('R14.2 keeps the processes that it has when a new one does not start, says so, and tries no further', {
    timeout: 90_000,
  }, async () => {
    const root = await mkdtemp(join(tmpdir(), 'coppice-program-'))
    cleanups.push(() => removeTree(root))
    for (const part of ['router', 'domain', 'logging', 'package.json']) {
      await cp(join(ROOT, part), join(root, part), { recursive: true })
    }
    await symlink(join(ROOT, 'node_modules'), join(root, 'node_modules'))
    const router = await start({ routes: table(1, app('app', origins)), args: ['--processes', '2'], root })
    const status = () => router.admin('/status') as Promise<{ processes: number; problems: Record<string, string> }>
    const before = await router.workers()
    const stopAsking = asking(router)
    const program = join(root, 'router', 'worker.ts')
    const whole = await readFile(program, 'utf8')
    await writeFile(program, `${whole}\nthis is no program`)

    router.child.kill('SIGHUP')
    await until(async () => 'replace' in (await status()).problems)
    expect((await status()).problems.replace).toContain('exit code 1')
    await expect(router.admin('/processes/replace', 'POST')).resolves.toMatchObject({ error_code: 'NotReplaced' })
    // Whoever tried again by itself would do it within this time.
    await new Promise((resolve) => setTimeout(resolve, 1000))
    expect(await router.workers()).toEqual(before)
    const { failures } = await stopAsking()
    expect(failures).toEqual([])

    // One that dies now cannot be replaced; the other carries on, and the attempts are told.
    process.kill(before[0] as number, 'SIGKILL')
    const attempts = () => router.log.filter((line) => String(line.msg).includes('another takes its place'))
    await until(() => attempts().length > 2)
    expect(await router.workers()).toContain(before[1])
    expect((await ask(router)).status).toBe(200)

    await writeFile(program, whole)
    await until(async () => (await status()).processes === 2, 30_000)
    expect(await router.admin('/processes/replace', 'POST')).toEqual({ processes: 2 })
    expect((await status()).problems).toEqual({})
    expect(await router.workers()).not.toContain(before[1])
  })

  it('R1.2 R14.2 goes on with the processes that it has while Node itself is gone, takes up tables, says so, and is whole again with it', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'coppice-node-'))
    cleanups.push(() => removeTree(dir))
    const node = join(dir, 'node')
    await copyFile(process.execPath, node)
    const router = await start({ routes: table(1, app('app', origins)), args: ['--processes', '2'], node })
    const status = () => router.admin('/status') as Promise<{ processes: number; problems: Record<string, string> }>
    const before = await router.workers()
    await rename(node, `${node}.away`)

    router.child.kill('SIGHUP')
    await until(async () => 'replace' in (await status()).problems)
    expect((await status()).problems.replace).toContain('ENOENT')
    expect(await router.workers()).toEqual(before)
    expect((await status()).problems).not.toHaveProperty('processes')

    process.kill(before[0] as number, 'SIGKILL')
    await until(async () => (await status()).problems.processes?.includes('ENOENT'))
    await router.setRoutes(table(2, app('app', [origins[1]])))
    expect((await ask(router)).json.instance).toBe('b')

    await rename(`${node}.away`, node)
    await until(async () => (await status()).processes === 2, 30_000)
    expect(await router.admin('/processes/replace', 'POST')).toEqual({ processes: 2 })
    expect((await status()).problems).toEqual({})
  })

  it('two replacements at once are one, and never make more than one process too many', async () => {
    const router = await start({ routes: table(1, app('app', origins)), args: ['--processes', '2'] })
    const before = await router.workers()
    let most = 0
    let watching = true
    const watch = (async () => {
      while (watching) {
        most = Math.max(most, (await router.workers()).length)
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
    })()
    router.child.kill('SIGHUP')
    await Promise.all([router.admin('/processes/replace', 'POST'), router.admin('/processes/replace', 'POST')])
    router.child.kill('SIGHUP')
    await router.admin('/processes/replace', 'POST')
    watching = false
    await watch
    expect(most).toBe(3)
    const after = await router.workers()
    expect(after).toHaveLength(2)
    expect(after.filter((pid) => before.includes(pid))).toEqual([])
  })

  const requests = (metrics: string) =>
    [...metrics.matchAll(/^coppice_router_requests_total\{.*\} (\d+)$/gm)].reduce(
      (sum, match) => sum + Number(match[1]),
      0,
    )

  it('R1.2 a process that dies is replaced, and the other carries on meanwhile', async () => {
    const router = await start({ routes: table(1, app('app', origins)), args: ['--processes', '2'] })
    const [victim] = await router.workers()
    process.kill(victim as number, 'SIGKILL')
    for (let i = 0; i < 20; i++) expect((await ask(router)).status).toBe(200)
    await until(async () => (await router.workers()).length === 2)
  })

  it('is replaced whole, on a socket that its supervisor keeps, without a refused connection or a cut request', async () => {
    const supervisor = createTcpServer()
    await new Promise<void>((resolve) => supervisor.listen({ port: 0, host: '127.0.0.1', backlog: 512 }, resolve))
    const port = (supervisor.address() as { port: number }).port
    const { fd } = (supervisor as unknown as { _handle: { fd: number } })._handle
    const settings = {
      routes: table(1, app('app', origins)),
      args: ['--processes', '1', '--listen', 'fd:3'],
      stdio: ['ignore', 'pipe', 'pipe', fd] as never,
    }
    const old = await startRouter(settings)
    const fresh = await start(settings)
    // The routers hold the socket now; a supervisor that still listened would take connections away from them.
    supervisor.close()
    const stopAsking = asking({ port })
    await stopAsking.more(50)
    expect(await old.stop()).toBe(0)
    await stopAsking.more(50)
    const { failures } = await stopAsking()
    expect(fresh.child.exitCode).toBeNull()
    expect(failures).toEqual([])
  })

  it('stops gracefully: what is in flight is finished, keep-alive connections end, the process exits 0', async () => {
    const router = await startRouter({ routes: table(1, app('app', origins)), args: ['--processes', '2'] })
    const agent = new Agent({ keepAlive: true })
    await ask(router, { agent })
    const slow = Promise.all([1, 2, 3].map(() => ask(router, { path: '/slow?ms=800', method: 'POST', body: 'x' })))
    await until(
      () => [...origins[0].seen, ...origins[1].seen].filter((one) => one.url.startsWith('/slow')).length === 3,
    )
    const code = router.stop()
    expect((await slow).map((answer) => answer.status)).toEqual([200, 200, 200])
    expect(await code).toBe(0)
    agent.destroy()
  })

  it('R12.4 answers 503 as long as it has no table at all, not that there is no such app; with one it knows who there is', async () => {
    const router = await start({ routes: '' as never })
    const answer = await ask(router)
    expect([answer.status, answer.headers['retry-after'], answer.headers['x-coppice-router']]).toEqual([
      503,
      '2',
      'NoRouteTable',
    ])
    expect(answer.text).toContain('no route table yet')
    await router.setRoutes(table(1, app('app', origins)))
    expect((await ask(router)).status).toBe(200)
    expect((await ask(router, { host: 'nobody.localhost' })).status).toBe(404)
    // One that says that there are no apps is one.
    await router.setRoutes(table(2))
    expect((await ask(router)).status).toBe(404)
  })

  it('refuses a bad routes file whole and keeps the last good table', async () => {
    const router = await start({ routes: table(1, app('app', origins)) })
    const slip = JSON.stringify({ ...table(1, { ...app('app', origins), afinity: true } as never) })
    for (const bad of ['{"inventory":', '{"inventory":"x","version":1,"apps":[{"app":"app"}]}', slip, '']) {
      await writeFile(join(router.dir, 'routes.json'), bad)
      await until(async () => 'routes' in ((await router.admin('/status')) as { problems: object }).problems)
      expect((await ask(router)).status).toBe(200)
      await router.setRoutes(table(2, app('app', origins)))
      expect((await router.admin('/status')) as object).toMatchObject({ problems: {} })
    }
  })

  it('D7 R3.4 serves a table only when it is on disk, without it after a second where the disk hangs, and acknowledges none that is not', async () => {
    const [a, b] = origins
    const router = await start({ routes: table(1, app('app', [a])) })
    const version = async () => ((await router.admin('/status')) as Status).acknowledged.version
    const before = await version()
    // Opening a pipe for writing takes until somebody reads: a disk that hangs.
    const fresh = join(router.dir, 'state', 'routes.json.new')
    execFileSync('mkfifo', [fresh])
    await writeFile(join(router.dir, 'next.json'), JSON.stringify(table(2, app('app', [b]))))
    const at = performance.now()
    await rename(join(router.dir, 'next.json'), join(router.dir, 'routes.json'))
    await until(async () => (await ask(router)).json.instance === 'b')
    expect(performance.now() - at).toBeGreaterThan(900)
    expect(await version()).toBe(before)
    const reader = await open(fresh, 'r')
    await rm(fresh)
    await reader.close()
    await until(async () => (await version()) > before)
  })

  it('D13 serves an app on its own port whatever the Host is; a taken port harms no other app', async () => {
    const [own, taken] = [await freePort(), createServer()]
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
    const takenPort = (taken.address() as { port: number }).port
    const rows = [app('app', [origins[0]], { port: own }), app('second', [origins[1]], { port: takenPort })]
    const router = await start({ routes: table(1, ...rows) })
    const answer = await ask({ port: own }, { host: `127.0.0.1:${own}` })
    expect(answer.json.instance).toBe('a')
    expect((await ask(router, { host: 'second.localhost' })).json.instance).toBe('b')
    expect(JSON.stringify(((await router.admin('/status')) as { problems: object }).problems)).toContain(
      `port ${takenPort}`,
    )
    await router.setRoutes(table(2, app('app', [origins[0]])))
    await expect(ask({ port: own })).rejects.toThrow(/ECONNREFUSED/)
    await new Promise<void>((resolve) => taken.close(() => resolve()))
  })

  it('D13 R12.8 opens an own port by itself that was taken between the look at it and its opening; until then it stays told, and no process ends', async () => {
    const [own, taken] = [await freePort(), createServer()]
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
    const takenPort = (taken.address() as { port: number }).port
    const router = await start({
      routes: table(1, app('app', origins)),
      args: ['--processes', '2', '--timeout', 'workerSilenceMs=60000'],
    })
    const problems = async () =>
      Object.keys(((await router.admin('/status')) as { problems: Record<string, string> }).problems)
    const processes = await router.workers()
    const stopAsking = asking(router)
    const signal = (name: NodeJS.Signals) => {
      for (const pid of processes) process.kill(pid, name)
    }
    signal('SIGSTOP')
    // The ports are looked at in this order: once the second is told, the first has been found free.
    const rows = [app('app', origins, { port: own }), app('second', [origins[1]], { port: takenPort })]
    const applied = router.setRoutes(table(2, ...rows))
    await until(async () => (await problems()).includes(`port-${takenPort}`))
    const thief = createServer()
    await new Promise<void>((resolve) => thief.listen(own, '127.0.0.1', resolve))
    signal('SIGCONT')
    await applied
    await until(async () => (await problems()).includes(`port-${own}`))
    await new Promise<void>((resolve) => taken.close(() => resolve()))
    // It takes a look or two to open the other one; the problem of this one outlives them.
    await until(() => ask({ port: takenPort }).catch(() => null))
    await until(async () => !(await problems()).includes(`port-${takenPort}`))
    expect(await problems()).toEqual([`port-${own}`])
    await new Promise<void>((resolve) => thief.close(() => resolve()))
    await until(() => ask({ port: own }).catch(() => null))
    await until(async () => (await problems()).length === 0)
    expect((await stopAsking()).failures).toEqual([])
    expect(await router.workers()).toEqual(processes)
    // By each of the processes.
    for (let i = 0; i < 20; i++) expect((await ask({ port: own })).status).toBe(200)
  })

  async function freePort(): Promise<number> {
    const probe = createServer()
    await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve))
    const { port } = probe.address() as { port: number }
    await new Promise<void>((resolve) => probe.close(() => resolve()))
    return port
  }

  it('R13.5 refuses to listen beyond loopback unless told to in so many words', async () => {
    await expect(startRouter({ routes: table(1), args: ['--listen', '0.0.0.0:0'] })).rejects.toThrow(
      /--expose-unconfined-apps/,
    )
    const open = await start({ routes: table(1), args: ['--listen', '0.0.0.0:0', '--expose-unconfined-apps'] })
    expect((await ask(open)).status).toBe(404)
  })

  it('says what is wrong with a flag, and where a port is taken', async () => {
    await expect(startRouter({ routes: table(1), args: ['--processes', 'many'] })).rejects.toThrow(
      /COPPICE_ROUTER_PROCESSES/,
    )
    await expect(startRouter({ routes: table(1), args: ['--timeout', 'soon=1'] })).rejects.toThrow(/firstByteMs/)
    const there = origins[0].port
    await expect(startRouter({ routes: table(1), port: there })).rejects.toThrow(/EADDRINUSE.*COPPICE_ROUTER_LISTEN/)
  })

  it('R13.5 the admin listener answers nothing without its token', async () => {
    const router = await start({ routes: table(1, app('app', origins)) })
    const admin = router.log.find((line) => line.event === 'listening')?.admin
    for (const headers of [{}, { authorization: 'Bearer wrong' }] as Record<string, string>[]) {
      for (const path of ['/livez', '/readyz', '/table', '/metrics', '/sessions', '/status']) {
        const answer = await fetch(`${admin}${path}`, { headers })
        expect(answer.status).toBe(401)
      }
    }
    const mode = execFileSync('stat', ['-c', '%a', join(router.dir, 'state', 'admin-token')])
      .toString()
      .trim()
    expect(mode).toBe('600')
    expect(await router.admin('/livez')).toEqual({ live: true })
    expect((await router.admin('/readyz')) as object).toMatchObject({ ready: true, stale: false })
    expect((await router.admin('/table')) as object).toMatchObject({ apps: [{ app: 'app' }] })
  })

  it('counts sessions by instance, each once, over all processes', async () => {
    const router = await start({ routes: table(1, app('app', origins)), args: ['--processes', '2'] })
    const where: Record<string, number> = {}
    for (let i = 0; i < 40; i++) {
      let instance = ''
      for (let again = 0; again < 4; again++)
        instance = (await ask(router, { headers: { 'x-routing-key': `s${i}` } })).json.instance
      where[instance] = (where[instance] ?? 0) + 1
    }
    expect(await router.admin('/sessions')).toEqual({ sessions: where })
  })

  it('logs requests as JSON where that is switched on', async () => {
    const router = await start({ routes: table(1, app('app', origins)), args: ['--access-log', 'on'] })
    await ask(router, { path: '/logged?x=1', method: 'POST', body: 'x' })
    await ask(router, { host: 'nobody.localhost' })
    const line = await until(() => router.log.find((one) => one.event === 'request' && one.path === '/logged?x=1'))
    expect(line).toMatchObject({ app: 'app', method: 'POST', status: 200, attempts: 1, client: '127.0.0.1' })
    const refused = await until(() => router.log.find((one) => one.event === 'request' && one.cause === 'NoSuchApp'))
    expect(refused).toMatchObject({ status: 404, app: null, instance: null })
  })

  describe('TLS', () => {
    const get = (router: RouterProcess, ca: Buffer | null, host = 'app.localhost') =>
      new Promise<{ status: number; cookies: string[]; body: string; serial: string }>((resolve, reject) => {
        const req = tlsRequest(
          {
            host: '127.0.0.1',
            port: router.port,
            servername: host,
            headers: { host },
            ca: ca ?? undefined,
            rejectUnauthorized: ca !== null,
            agent: false,
          },
          (res) => {
            const serial = (res.socket as import('node:tls').TLSSocket).getPeerCertificate().serialNumber
            let body = ''
            res.on('data', (chunk) => {
              body += chunk
            })
            res.on('end', () =>
              resolve({ status: res.statusCode as number, cookies: res.headers['set-cookie'] ?? [], body, serial }),
            )
          },
        )
        req.on('error', reject)
        req.end()
      })

    it('R7.4 with a certificate of its own sets the real cookie only, and tells the app that it is https', async () => {
      const router = await start({
        routes: table(1, app('app', origins)),
        args: ['--tls-self-signed', 'app.localhost,127.0.0.1,::1', '--processes', '1'],
      })
      const ca = await readFile(join(router.dir, 'state', 'tls', 'self-signed.crt'))
      const answer = await get(router, ca)
      expect(answer.status).toBe(200)
      expect(answer.cookies).toHaveLength(1)
      expect(answer.cookies[0]).toContain('__Host-databricks-app-router=')
      expect(answer.body).toContain('"x-forwarded-proto","https"')
    })

    it('takes a renewed certificate without a restart, and keeps the old one when the new one is broken', async () => {
      const now = Date.now()
      const make = async () => {
        const made = await selfSigned(await tempDir(), ['app.localhost'], now)
        if ('unwritten' in made) throw new Error(made.unwritten)
        return made
      }
      const [first, second] = [await make(), await make()]
      const router = await start({
        routes: table(1, app('app', origins)),
        args: ['--tls-cert', first.cert, '--tls-key', first.key, '--processes', '1'],
      })
      const { serial } = await get(router, null)
      // In the middle of a renewal the pair does not fit together.
      await writeFile(first.cert, await readFile(second.cert))
      await until(async () => 'certificate' in ((await router.admin('/status')) as { problems: object }).problems)
      expect((await get(router, null)).serial).toBe(serial)
      await writeFile(first.key, await readFile(second.key))
      await until(async () => (await get(router, null)).serial !== serial)
      expect((await router.admin('/status')) as object).toMatchObject({ problems: {} })
    })

    it('speaks no HTTP/2 and no TLS before 1.2', async () => {
      const router = await start({
        routes: table(1, app('app', origins)),
        args: ['--tls-self-signed', 'app.localhost'],
      })
      const options = { port: router.port, host: '127.0.0.1', rejectUnauthorized: false }
      const protocol = await new Promise((resolve) => {
        const socket = tlsConnect({ ...options, ALPNProtocols: ['h2', 'http/1.1'] }, () => {
          resolve(socket.alpnProtocol)
          socket.destroy()
        })
      })
      expect(protocol).toBe('http/1.1')
      const old = new Promise((_, reject) =>
        tlsConnect({ ...options, maxVersion: 'TLSv1.1', minVersion: 'TLSv1' }).on('error', reject),
      )
      await expect(old).rejects.toThrow()
    })

    async function tempDir(): Promise<string> {
      const dir = await mkdtemp(join(tmpdir(), 'coppice-tls-'))
      cleanups.push(() => removeTree(dir))
      return dir
    }
  })
})
