import { chmodSync, existsSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { findTool, type ResolvedTool, resolveTool } from './resolve.ts'

/** Programs here are two-line shell scripts, and the network is a proxy that refuses. */

let folder: string
let env: NodeJS.ProcessEnv
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coppice-tools-'))
  const refused = 'http://127.0.0.1:1'
  env = {
    PATH: join(folder, 'bin'),
    HOME: folder,
    COPPICE_CACHE: join(folder, 'cache'),
    http_proxy: refused,
    https_proxy: refused,
  }
})
afterEach(() => removeTree(folder))

function program(path: string, says: string): string {
  const file = join(folder, path)
  mkdirSync(join(file, '..'), { recursive: true })
  writeFileSync(file, `#!/bin/sh\necho "${says}"\n`)
  chmodSync(file, 0o755)
  return file
}

const temporal = (server: string): string => `temporal version 1.5.1 (Server ${server}, UI 2.42.1)`
const find = (): Promise<ResolvedTool> => resolveTool('temporal', { env })

describe('a tool is taken', () => {
  it('from its variable, before the PATH', async () => {
    program('bin/temporal', temporal('1.29.1'))
    env.COPPICE_TEMPORAL_CLI = program('mine/temporal', temporal('1.30.0'))
    expect(await find()).toEqual({ path: env.COPPICE_TEMPORAL_CLI, version: '1.30.0', from: 'variable' })
  })

  it('from the PATH, where one that is too old is passed over', async () => {
    program('bin/temporal', temporal('1.25.1'))
    const good = program('other/temporal', temporal('1.29.1'))
    env.PATH = `${join(folder, 'bin')}:${join(folder, 'other')}`
    expect(await find()).toEqual({ path: good, version: '1.29.1', from: 'path' })
  })

  it('from where go install leaves it, though that is not on the PATH', async () => {
    const path = program('go/bin/temporal', temporal('1.29.1'))
    expect(await find()).toEqual({ path, version: '1.29.1', from: 'path' })
  })

  it('from the cache, without asking the network', async () => {
    const place = `cache/tools/temporal-1.5.1-${process.platform}-${process.arch}/temporal`
    const path = program(place, temporal('1.29.1'))
    expect(await find()).toEqual({ path, version: '1.29.1', from: 'cache' })
    expect(await findTool('temporal', env)).toEqual({ path, version: '1.29.1', from: 'cache' })
  })

  it('R14.3 or is said not to be there, where somebody only asks', async () => {
    program('bin/temporal', temporal('1.25.1'))
    expect(await findTool('temporal', env)).toBeNull()
    expect(existsSync(join(folder, 'cache'))).toBe(false)
  })
})

describe('a tool that cannot be had', () => {
  it('fails with what was tried and what to do', async () => {
    program('bin/temporal', temporal('1.25.1'))
    const error = await find().catch((reason) => reason)
    expect(error.code).toBe('ToolMissing')
    expect(error.message).toContain(`${env.PATH}/temporal: it is version 1.25.1, wanted is 1.29.0`)
    expect(error.message).toMatch(/official download: github\.com cannot be reached/)
    expect(error.message).toMatch(/go install .*: there is no go on the PATH, and GOPROXY names no module proxy/)
    expect(error.message).toContain('export COPPICE_TEMPORAL_CLI=/path/to/temporal')
  })

  it('is not replaced by another when a variable names it', async () => {
    program('bin/temporal', temporal('1.29.1'))
    env.COPPICE_TEMPORAL_CLI = join(folder, 'nowhere')
    await expect(find()).rejects.toThrow('COPPICE_TEMPORAL_CLI names')
    env.COPPICE_TEMPORAL_CLI = program('odd', 'hello')
    await expect(find()).rejects.toThrow('does not say its version')
  })
})
