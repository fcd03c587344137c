/** The control plane as one object: listens, signs its sign of life, stops gracefully. */
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import express, { type RequestHandler } from 'express'
import type { Logger } from 'pino'
import { CoppiceError } from '../domain/errors.ts'
import { judgeBodyType, judgeOrigin, OWN_PAGES_ONLY } from '../domain/web-origin.ts'
import type { Store } from '../store/store.ts'
import { AppReader } from './app-reader.ts'
import { appsApi } from './apps-api.ts'
import { artifactsApi, type KeptThings } from './artifacts-api.ts'
import { authenticate, principalOf } from './auth.ts'
import { watchBodies } from './body-watch.ts'
import { Changes } from './changes.ts'
import { changesApi } from './changes-api.ts'
import type { Check } from './check.ts'
import { ClockWatch } from './clock-watch.ts'
import { coppiceApi } from './coppice-api.ts'
import { Doctor } from './doctor.ts'
import { answerErrors, noSuchPath } from './errors.ts'
import { EventFeed } from './event-feed.ts'
import { EventStreams } from './event-stream.ts'
import { eventsApi } from './events-api.ts'
import type { InstanceLogs } from './logs.ts'
import { OperationStarter } from './operations.ts'
import type { ControlOptions } from './options.ts'
import { routersApi } from './routers-api.ts'
import { secretsApi } from './secrets-api.ts'
import { type SourceReceiver, sourcesApi } from './sources-api.ts'
import type { Temporal } from './temporal.ts'
import { updatesApi } from './updates-api.ts'
import { Uploads } from './uploads.ts'
import type { ComputeLimits } from './views.ts'
import { workspaceApi } from './workspace-api.ts'

export type ControlPlaneDeps = {
  options: ControlOptions
  store: Store
  temporal: Temporal
  token: string
  log: Logger
  logs: InstanceLogs
  receiveSource: SourceReceiver
  hasSource: (digest: string) => Promise<boolean>
  resolveSource: (path: string) => Promise<string>
  kept: KeptThings
  /** What the runtime knows of its trees, for the doctor. */
  runtimeChecks: () => Promise<Check[]>
  computeLimits: ComputeLimits
}

export type ControlPlane = {
  /** Base URL, e.g. `http://127.0.0.1:7400`. */
  readonly url: string
  /** Ends streams, lets requests in flight finish for `graceMs`, gives no further sign of life. */
  stop(options?: { graceMs?: number }): Promise<void>
}

/** Routers count leases from the start of the control plane, and take three missed signs for its death (D7). */
const SIGN_MS = 1_000

/** @throws CoppiceError InvalidInput when the port is taken */
export async function startControlPlane(deps: ControlPlaneDeps): Promise<ControlPlane> {
  const { store, options, log } = deps
  const stopping = new AbortController()
  const changes = new Changes(store.watch)
  const streams = new EventStreams({ log, stopping: stopping.signal, limits: options.streams })
  const clock = new ClockWatch(Date.now, () => performance.now())
  const api = createApi(deps, { changes, streams, clock })
  const signed = Promise.withResolvers<void>()
  // Whoever cannot listen must not sign, and a router's report must not be judged before the sign (routers.ts).
  const server = createServer((request, response) => void signed.promise.then(() => api(request, response)))
  // How long bodies may take: body-watch.ts. Heads may not take long.
  server.requestTimeout = 0
  server.headersTimeout = 10_000
  await listen(server, options.listen)
  await store.routes.apply(options)
  await store.routers.signControlPlane({ starting: true })
  signed.resolve()
  const signs = setInterval(() => {
    clock.look()
    store.routers.signControlPlane({ starting: false }).catch((err: unknown) => log.warn({ err }, 'could not sign'))
  }, SIGN_MS)
  const { address, family, port } = server.address() as AddressInfo
  return {
    url: `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`,
    async stop({ graceMs = 5_000 } = {}) {
      clearInterval(signs)
      const closed = new Promise<void>((resolve) => server.close(() => resolve()))
      stopping.abort()
      changes.close()
      server.closeIdleConnections()
      const late = setTimeout(() => server.closeAllConnections(), graceMs)
      await closed
      clearTimeout(late)
    },
  }
}

function createApi(
  deps: ControlPlaneDeps,
  { changes, streams, clock }: { changes: Changes; streams: EventStreams; clock: ClockWatch },
): express.Express {
  const { options, store, temporal, log } = deps
  const apps = new AppReader(store, { ...options, computeLimits: deps.computeLimits })
  const operations = new OperationStarter(store, temporal, log)
  const doctor = new Doctor({
    store,
    temporal,
    namespace: options.temporal.namespace,
    home: options.store.home,
    runtimeChecks: deps.runtimeChecks,
    clockJump: () => clock.jump,
    now: Date.now,
  })

  const api = express()
  api.disable('x-powered-by')
  api.disable('etag')
  api.set('query parser', 'simple')
  const { uploads } = options
  api.use(watchBodies({ stallMs: uploads.stallMs, isUpload: ({ path }) => path === SOURCES }))
  api.use(keepPagesOut(options.apiHosts))
  api.get('/healthz', (_request, response) => void response.json({ status: 'ok' }))
  // Clients of the product ask for this before they have credentials; they take 404 for "no single sign-on here".
  api.get('/.well-known/databricks-config', noSuchPath)
  api.use(authenticate(deps.token, store.tokens))
  // `keepPagesOut` has looked at the type. An upload is not read here.
  const json = express.json({ limit: '1mb', strict: false, type: () => true })
  api.use((request, response, next) => {
    if (request.path === SOURCES) return next()
    // What was given up while its body came has its answer (`body-watch.ts`), and is not carried out after that.
    json(request, response, (error) => (response.headersSent ? undefined : next(error)))
  })
  api.get('/api/2.0/preview/scim/v2/Me', (_request, response) => {
    response.set('X-Databricks-Org-Id', options.workspaceId)
    const { name } = principalOf(response)
    response.json({ id: '1', userName: name, displayName: name, active: true })
  })
  api.use('/api/2.0/apps', appsApi({ ...deps, apps, operations }))
  api.use('/api/2.0/apps', updatesApi({ store, apps, operations }))
  api.use('/api/coppice/v1', routersApi({ store, domains: options.domains, changes, streams }))
  api.use('/api/coppice/v1', eventsApi({ feed: new EventFeed(store.events, changes, streams.turns), streams }))
  api.use('/api/coppice/v1', changesApi({ store, apps, operations }))
  api.use('/api/coppice/v1', secretsApi({ store, apps }))
  api.use('/api/coppice/v1', workspaceApi(deps))
  api.use('/api/coppice/v1', artifactsApi(deps))
  api.use('/api/coppice/v1', sourcesApi({ ...deps, uploads: new Uploads(uploads) }))
  api.use('/api/coppice/v1', coppiceApi({ ...deps, apps, operations, doctor, changes, streams }))
  api.use(noSuchPath)
  api.use(answerErrors(log))
  return api
}

const SOURCES = '/api/coppice/v1/sources'
const BODY_TYPES = ['application/json']
const UPLOAD_TYPES = ['application/gzip', 'application/x-gzip', 'application/x-tar', 'application/octet-stream']

/** Before anything else, who asks: what is said here without a token is not said to web pages either (R13.7). */
function keepPagesOut(names: readonly string[]): RequestHandler {
  const own = { names: new Set(names), namesOption: '--api-hosts (COPPICE_API_HOSTS)' }
  return ({ path, headers }, response, next) => {
    response.set(OWN_PAGES_ONLY)
    const refused = judgeOrigin(headers, own) ?? judgeBodyType(headers, path === SOURCES ? UPLOAD_TYPES : BODY_TYPES)
    next(refused ?? undefined)
  }
}

function listen(server: Server, { host, port }: ControlOptions['listen']): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const reason = error.code === 'EADDRINUSE' ? 'is taken by another process' : error.message
      reject(
        new CoppiceError(
          'InvalidInput',
          `${host}:${port} ${reason}; choose another one with --api-listen or COPPICE_API_LISTEN`,
          {
            field: 'api-listen',
          },
        ),
      )
    })
    server.listen(port, host, resolve)
  })
}
