import { describe, expect, it } from 'vitest'
import { secretsNeeded } from '../domain/app-config.ts'
import { type EnvironmentInput, makeEnvironment } from './environment.ts'

const run = {
  command: ['node'],
  env: [],
  path: ['/layer/bin'],
  vars: { VIRTUAL_ENV: '/layer' },
  links: {},
  runtime: 'python' as const,
}

function input(patch: Partial<EnvironmentInput> = {}): EnvironmentInput {
  return {
    app: 'hello',
    slot: 1,
    deployment: 'd1',
    url: 'http://hello.localhost:8080',
    host: 'http://127.0.0.1:9000',
    workspaceId: '42',
    run,
    overrides: [],
    secret: () => undefined,
    toolPath: ['/node/bin'],
    inherited: {},
    ...patch,
  }
}

describe('the environment of an app', () => {
  it('R3.6 tells it where it runs and lets the frameworks find their port and address', () => {
    const { env, portVariables } = makeEnvironment(input())
    expect(env).toMatchObject({
      DATABRICKS_APP_NAME: 'hello',
      DATABRICKS_WORKSPACE_ID: '42',
      DATABRICKS_HOST: 'http://127.0.0.1:9000',
      DATABRICKS_APP_URL: 'http://hello.localhost:8080',
      COPPICE_APP: 'hello',
      COPPICE_SLOT: '1',
      COPPICE_DEPLOYMENT: 'd1',
      PYTHONUNBUFFERED: '1',
      STREAMLIT_SERVER_ADDRESS: '0.0.0.0',
      FLASK_RUN_HOST: '0.0.0.0',
      UVICORN_HOST: '0.0.0.0',
      GRADIO_SERVER_NAME: '0.0.0.0',
      VIRTUAL_ENV: '/layer',
    })
    expect(portVariables).toEqual([
      'DATABRICKS_APP_PORT',
      'PORT',
      'GRADIO_SERVER_PORT',
      'STREAMLIT_SERVER_PORT',
      'UVICORN_PORT',
      'FLASK_RUN_PORT',
    ])
    expect(env.PATH?.split(':').slice(0, 3)).toEqual(['/layer/bin', '/node/bin', '/usr/local/bin'])
  })

  it('takes the deployment’s variables before app.yaml’s, and these before the defaults', () => {
    const { env, portVariables } = makeEnvironment(
      input({
        run: {
          ...run,
          env: [
            { name: 'A', value: 'yaml' },
            { name: 'B', value: 'yaml' },
            { name: 'PORT', value: '1' },
          ],
        },
        overrides: [
          { name: 'B', value: 'deployment' },
          { name: 'PYTHONUNBUFFERED', value: '0' },
        ],
      }),
    )
    expect(env).toMatchObject({ A: 'yaml', B: 'deployment', PYTHONUNBUFFERED: '0', PORT: '1' })
    expect(portVariables).not.toContain('PORT')
  })

  it('lets no app change what the platform alone knows, and says what it left out', () => {
    const { env, portVariables, ignored } = makeEnvironment(
      input({
        overrides: [
          { name: 'DATABRICKS_APP_PORT', value: '1' },
          { name: 'STREAMLIT_SERVER_ADDRESS', value: '127.0.0.1' },
          { name: 'COPPICE_SLOT', value: '7' },
          { name: 'HOME', value: '/root' },
        ],
      }),
    )
    expect(portVariables).toContain('DATABRICKS_APP_PORT')
    expect(env.DATABRICKS_APP_PORT).toBeUndefined()
    expect(env.HOME).toBeUndefined()
    expect(env).toMatchObject({ STREAMLIT_SERVER_ADDRESS: '0.0.0.0', COPPICE_SLOT: '1' })
    expect(ignored).toEqual(['COPPICE_SLOT', 'DATABRICKS_APP_PORT', 'HOME', 'STREAMLIT_SERVER_ADDRESS'])
  })

  it('R13.4 inherits proxies, language and time zone, and nothing else of the worker', () => {
    const { env } = makeEnvironment(
      input({
        inherited: { HTTPS_PROXY: 'http://p', TZ: 'UTC', COPPICE_TOKEN: 's', AWS_SECRET_ACCESS_KEY: 's', HOME: '/h' },
      }),
    )
    expect(env).toMatchObject({ HTTPS_PROXY: 'http://p', TZ: 'UTC' })
    expect(Object.values(env)).not.toContain('s')
    expect(env.HOME).toBeUndefined()
  })

  it('R3.7 puts a secret’s value where valueFrom names it, and a missing one fails naming both', () => {
    const withSecret = { ...run, env: [{ name: 'DB', valueFrom: 'db-password' }] }
    expect(makeEnvironment(input({ run: withSecret, secret: () => 'x' })).env.DB).toBe('x')
    expect(secretsNeeded(withSecret.env)).toEqual(['db-password'])
    expect(() => makeEnvironment(input({ run: withSecret }))).toThrow(/DB .*"db-password".*hello/)
  })
})
