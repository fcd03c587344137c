import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { removeTree } from '../artifacts/trees.ts'
import { installEnvironment, parsePipConfig } from './install-environment.ts'

let home: string
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'coppice-env-'))
})
afterEach(() => removeTree(home))

const make = (env: Record<string, string> = {}) =>
  installEnvironment({ env: { HOME: home, ...env }, toolPath: ['/node/bin'], cacheDir: '/cache' })

describe('the environment of an installation', () => {
  it('is clean but for the way to the package indexes', () => {
    const { env } = make({
      COPPICE_TOKEN: 'secret',
      HTTPS_PROXY: 'http://proxy',
      UV_SYSTEM_PYTHON: '1',
      UV_HTTP_TIMEOUT: '9',
    })
    expect(Object.values(env)).not.toContain('secret')
    expect(env).toMatchObject({
      HTTPS_PROXY: 'http://proxy',
      UV_HTTP_TIMEOUT: '9',
      UV_CACHE_DIR: '/cache/uv',
      UV_NO_CONFIG: '1',
    })
    expect(env.UV_SYSTEM_PYTHON).toBeUndefined()
    expect(env.HOME).toBeUndefined()
    expect(env.PATH?.startsWith('/node/bin:')).toBe(true)
  })

  it('gives uv pip’s index where uv has none of its own', () => {
    mkdirSync(join(home, '.config', 'pip'), { recursive: true })
    writeFileSync(join(home, '.config', 'pip', 'pip.conf'), '[global]\nindex-url = https://a.example/simple\n')
    expect(make({ PIP_CERT: '/cert.pem' }).env).toMatchObject({
      UV_DEFAULT_INDEX: 'https://a.example/simple',
      SSL_CERT_FILE: '/cert.pem',
    })
    expect(make({ PIP_INDEX_URL: 'https://b.example/simple' }).env.UV_DEFAULT_INDEX).toBe('https://b.example/simple')
    const own = make({ UV_INDEX_URL: 'https://c.example/simple' }).env
    expect(own.UV_DEFAULT_INDEX).toBeUndefined()
    expect(own.UV_INDEX_URL).toBe('https://c.example/simple')
  })

  it('leaves credentials out of what goes into keys', () => {
    const of = (password: string) => make({ UV_DEFAULT_INDEX: `https://me:${password}@a.example/simple` }).sources
    expect(of('one')).toEqual(of('two'))
    expect(of('one').UV_DEFAULT_INDEX).toBe('https://a.example/simple')
    expect(make().sources).not.toEqual(of('one'))
  })

  it('reads pip’s configuration files as pip does', () => {
    const text = `# comment
[global]
index_url: https://a.example/simple
extra-index-url =
    https://b.example/simple
    # not this one
  ; nor this
    https://c.example/simple
[list]
format = columns
[install]
trusted-host = a.example
`
    expect(parsePipConfig(text)).toEqual({
      'index-url': 'https://a.example/simple',
      'extra-index-url': 'https://b.example/simple https://c.example/simple',
      'trusted-host': 'a.example',
    })
  })
})
