import { mkdtemp, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { removeTree } from '../../../runtime/artifacts/trees.ts'
import { startRouter } from '../../../test/router/support/router-process.ts'
import { app, table } from '../../../test/router/support/tables.ts'
import { available, type Cores, family, start } from './machine.ts'

/** A proxy under test. */
export type Peer = { name: string; port: number; pids: number[]; stop(): Promise<void> }

const file = (name: string) => join(import.meta.dirname, name)

/** @param env more environment of its processes */
export async function ours(origins: number[], cores: Cores, processes = 1, env: NodeJS.ProcessEnv = {}): Promise<Peer> {
  const routes = table(
    1,
    app(
      'app',
      origins.map((port, i) => ({ name: `i${i}`, address: `127.0.0.1:${port}` })),
    ),
  )
  const router = await startRouter({
    routes,
    args: ['--processes', String(processes)],
    pin: cores?.proxy,
    env,
  })
  return {
    name: processes === 1 ? 'ours' : `ours × ${processes}`,
    port: router.port,
    pids: family(router.child.pid as number),
    stop: async () => {
      await router.stop()
    },
  }
}

async function node(name: string, source: string, origins: number[], cores: Cores): Promise<Peer> {
  const { child, line } = await start(cores?.proxy, process.execPath, [file(source), String(origins[0])])
  return { name, port: Number(line), pids: [child.pid as number], stop: async () => void child.kill('SIGKILL') }
}

/** HAProxy with the duties of our router: affinity by the cookie, which is stripped; request id; forwarded headers. */
async function haproxy(origins: number[], cores: Cores): Promise<Peer> {
  const port = await freePort()
  const servers = origins.map((one, i) => `  server i${i} 127.0.0.1:${one} check inter 1s`).join('\n')
  const config = `global
  nbthread 1
  maxconn 8000
defaults
  mode http
  timeout connect 2s
  timeout client 65s
  timeout server 120s
  timeout http-request 10s
  option redispatch 1
  retries 3
  unique-id-format %{+X}o%ci%cp%ts%rt
frontend in
  bind 127.0.0.1:${port}
  unique-id-header X-Request-Id
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Real-Ip %[src]
  http-request set-header X-Forwarded-Host %[req.hdr(host)]
  http-request set-header X-Forwarded-Proto http
  http-request set-var(txn.key) req.cook(__Host-databricks-app-router)
  http-request replace-header Cookie (.*?)(?:;\\ )?__Host-databricks-app-router=[^;]*(.*) \\1\\2
  default_backend app
backend app
  balance hash var(txn.key)
  hash-type consistent
${servers}
`
  return daemon('HAProxy', port, config, (path) => ['haproxy', ['-db', '-f', path]], cores)
}

async function nginx(origins: number[], cores: Cores): Promise<Peer> {
  const port = await freePort()
  const servers = origins.map((one) => `    server 127.0.0.1:${one};`).join('\n')
  const dir = await mkdtemp(join(tmpdir(), 'coppice-nginx-'))
  const config = `worker_processes 1;
daemon off;
pid ${dir}/pid;
error_log ${dir}/error.log;
events { worker_connections 20000; }
http {
  access_log off;
  client_body_temp_path ${dir}/body;
  proxy_temp_path ${dir}/proxy;
  fastcgi_temp_path ${dir}/f;
  uwsgi_temp_path ${dir}/u;
  scgi_temp_path ${dir}/s;
  client_max_body_size 0;
  keepalive_requests 100000000;
  # A name with dashes is none of nginx's cookie variables.
  map $http_cookie $routing_key { "~__Host-databricks-app-router=(?<key>[^;]+)" $key; default $http_cookie; }
  upstream app {
    hash $routing_key consistent;
${servers}
    keepalive 1000;
    keepalive_requests 100000000;
  }
  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_request_buffering off;
      proxy_set_header Host $host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Real-Ip $remote_addr;
      proxy_set_header X-Forwarded-Host $host;
      proxy_set_header X-Forwarded-Proto http;
      proxy_set_header X-Request-Id $request_id;
    }
  }
}
`
  return daemon('nginx', port, config, (path) => ['nginx', ['-c', path]], cores)
}

async function daemon(
  name: string,
  port: number,
  config: string,
  command: (path: string) => [string, string[]],
  cores: Cores,
): Promise<Peer> {
  const dir = await mkdtemp(join(tmpdir(), 'coppice-bench-'))
  const path = join(dir, 'config')
  await writeFile(path, config)
  const [program, args] = command(path)
  const { spawn } = await import('node:child_process')
  const child =
    cores === null
      ? spawn(program, args, { stdio: 'ignore' })
      : spawn('taskset', ['-c', cores.proxy, program, ...args], { stdio: 'ignore' })
  await listens(port)
  return {
    name,
    port,
    pids: family(child.pid as number),
    stop: async () => {
      child.kill('SIGTERM')
      await new Promise((resolve) => setTimeout(resolve, 200))
      child.kill('SIGKILL')
      await removeTree(dir)
    },
  }
}

/** Everybody who is there; who is missing is told. */
export async function peers(origins: number[], cores: Cores): Promise<Peer[]> {
  const all = [
    await ours(origins, cores),
    await node('undici, bare', 'peer-undici.ts', origins, cores),
    await node('fast-proxy', 'peer-fast-proxy.ts', origins, cores),
    await node('http-proxy-middleware', 'peer-hpm.ts', origins, cores),
  ]
  for (const [command, begin] of [
    ['haproxy', haproxy],
    ['nginx', nginx],
  ] as const) {
    if (available(command)) all.push(await begin(origins, cores))
    else process.stderr.write(`${command} is not installed here and is left out (Debian: apt-get install ${command})\n`)
  }
  return all
}

async function freePort(): Promise<number> {
  const probe = createServer()
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve))
  const { port } = probe.address() as { port: number }
  await new Promise<void>((resolve) => probe.close(() => resolve()))
  return port
}

async function listens(port: number): Promise<void> {
  const { connect } = await import('node:net')
  for (let i = 0; i < 100; i++) {
    const ok = await new Promise<boolean>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => resolve(true))
      socket.on('error', () => resolve(false))
      socket.on('connect', () => socket.destroy())
    })
    if (ok) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error(`nothing listens on ${port}`)
}
