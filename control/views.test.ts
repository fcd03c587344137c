import { describe, expect, it } from 'vitest'
import type { App, Instance } from '../domain/records.ts'
import { COMPUTE_SIZES } from '../store/workspace.ts'
import { app, instance } from './testing.ts'
import { appUrls, appView } from './views.ts'

const urls = { url: 'http://shop.localhost:8080', urls: [] }
const view = (instances: Instance[], rest: Partial<App> = {}) =>
  appView({
    app: { ...app, ...rest },
    instances,
    active: null,
    pending: null,
    urls,
    computeLimits: 'advisory',
    sizes: COMPUTE_SIZES,
  })

describe('the status of an app', () => {
  it('is RUNNING with all that run, and counts none that an operation is about to bring', () => {
    const { app_status, compute_status } = view([instance(0), instance(1), instance(0, { role: 'standby' })])
    expect(app_status).toEqual({ state: 'RUNNING', message: 'App has status: App is running', running_instances: 2 })
    expect(compute_status.active_instances).toBe(2)
  })

  it('R12.2 tells what a suspended and a silent instance suffer from, and when they are started again', () => {
    const restartAt = Date.UTC(2030, 0, 1)
    const suspended = instance(0, { observed: 'suspended', message: 'It was stopped by a signal.', restartAt })
    const silent = instance(1, {
      message: 'It does not answer; routers say so since 2029-12-31T23:59:00.000Z.',
      restartAt,
    })
    const { app_status, compute_limits } = view([suspended, silent])
    expect(app_status).toEqual({
      state: 'RUNNING',
      running_instances: 1,
      message:
        '1 of 2 instances run. The instance in slot 0 is stopped by a signal; unless that ends, it is started again at 2030-01-01T00:00:00.000Z. The instance in slot 1 runs (It does not answer; routers say so since 2029-12-31T23:59:00.000Z.); unless that ends, it is started again at 2030-01-01T00:00:00.000Z.',
    })
    expect(compute_limits.all.instances).toBe(2)
    expect(view([suspended]).app_status.state).toBe('UNAVAILABLE')
  })

  it('R12.9 is RUNNING while one runs, and says CrashLoop with the last log lines of the other', () => {
    const looping = instance(1, {
      observed: 'crashLoop',
      crashes: 4,
      message: 'exit code 3',
      logLines: ['starting', 'no database'],
      restartAt: Date.UTC(2030, 0, 1),
    })
    const { app_status } = view([instance(0), looping])
    expect(app_status.state).toBe('RUNNING')
    expect(app_status.running_instances).toBe(1)
    expect(app_status.message).toMatch(
      /1 of 2 instances run.*CrashLoop.*slot 1.*4 times.*exit code 3.*2030-01-01.*no database/,
    )
  })

  it('R12.9 is CRASHED when none runs', () => {
    const { app_status } = view([instance(0, { observed: 'crashed' }), instance(1, { observed: 'starting' })])
    expect(app_status).toMatchObject({ state: 'CRASHED', running_instances: 0 })
  })

  it('is UNAVAILABLE when it is stopped or was never deployed', () => {
    expect(view([], { desired: 'stopped', computeState: 'STOPPED' }).app_status.state).toBe('UNAVAILABLE')
    expect(view([], { activeDeployment: null }).app_status.message).toContain('not been deployed yet')
  })

  it('R5.0 shows counts for a scaled app only', () => {
    expect(view([])).toMatchObject({ compute_min_instances: 2, compute_max_instances: 2 })
    expect(view([], { mode: 'standard', instances: 1 })).not.toHaveProperty('compute_max_instances')
  })
})

describe('D13 the URLs of an app', () => {
  const router = 'http://127.0.0.1:8080'

  it('are one a domain, then its own port', () => {
    expect(appUrls(app, { domains: ['localhost', 'apps.example.org'], urlTemplate: null, router })).toEqual({
      url: 'http://shop.localhost:8080',
      urls: ['http://shop.localhost:8080', 'http://shop.apps.example.org:8080', 'http://127.0.0.1:8100'],
    })
  })

  it('begin with the template, which wins over what routers report', () => {
    const urlTemplate = 'https://{app}.apps.example.org'
    expect(appUrls(app, { domains: [], urlTemplate, router }).url).toBe('https://shop.apps.example.org')
  })

  it('leave out a port that the router cannot open: of a platform restored beside its original, that listens there', () => {
    const options = { domains: ['localhost'], urlTemplate: null, router }
    expect(appUrls(app, { ...options, takenPorts: [8100] }).urls).toEqual(['http://shop.localhost:8080'])
    expect(appUrls(app, { ...options, takenPorts: [8101] }).urls).toContain('http://127.0.0.1:8100')
  })
})
