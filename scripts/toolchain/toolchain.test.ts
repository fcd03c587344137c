import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { deflateRawSync, gzipSync } from 'node:zlib'
import { pack } from 'tar-stream'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { removeTree } from '../../runtime/artifacts/trees.ts'
import { untarGz, unzip } from './archive.ts'
import { fillOnce } from './cache.ts'
import { downloadFile } from './download.ts'
import { proxySettings } from './proxy.ts'
import { chooseWheel, parseHtml, parseJson, wheelTags } from './pypi.ts'
import { compareVersions, inRange } from './version.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coppice-toolchain-'))
})
afterEach(() => removeTree(folder))

describe('versions', () => {
  it('are compared number by number', () => {
    expect(compareVersions('1.10.0', '1.9.9')).toBe(1)
    expect(compareVersions('1.2', '1.2.0')).toBe(0)
    expect(inRange('1.29.1', { oldest: '1.29.0', tooNew: '2.0.0' })).toBe(true)
    expect(inRange('2.0.0', { oldest: '1.29.0', tooNew: '2.0.0' })).toBe(false)
  })
})

describe('proxies', () => {
  it('are those of the variables, else those of npm, and never for loopback', () => {
    expect(proxySettings({ HTTPS_PROXY: 'http://p:1', npm_config_https_proxy: 'http://q:1' }).httpsProxy).toBe(
      'http://p:1',
    )
    expect(proxySettings({ npm_config_https_proxy: 'http://q:1' }).httpsProxy).toBe('http://q:1')
    const { noProxy } = proxySettings({ no_proxy: 'corp.example, 10.0.0.0/8' })
    expect(noProxy.split(',')).toEqual(
      expect.arrayContaining(['corp.example', '10.0.0.0/8', '127.0.0.1', 'localhost', '::1']),
    )
  })
})

describe('wheels', () => {
  const wheel = (version: string, tag: string, sha256: string | null = 'x') => ({
    filename: `uv-${version}-py3-none-${tag}.whl`,
    url: `https://index/${version}`,
    sha256,
  })
  const wanted = { project: 'uv', version: '0.9.1', oldest: '0.6.0' }
  const linux = wheelTags('linux', 'x64', true)

  it('are the wanted version, else the newest that does', () => {
    const here = (version: string) => wheel(version, 'manylinux_2_17_x86_64.manylinux2014_x86_64')
    const all = ['0.5.0', '0.9.1', '0.10.0'].map(here)
    expect(chooseWheel(all, wanted, linux)?.url).toBe('https://index/0.9.1')
    expect(chooseWheel([here('0.5.0'), here('0.7.0'), here('0.10.0')], wanted, linux)?.url).toBe('https://index/0.10.0')
    expect(chooseWheel([here('0.5.0')], wanted, linux)).toBeNull()
  })

  it('run on this platform, and have a checksum', () => {
    const others = [
      wheel('0.9.1', 'win_amd64'),
      wheel('0.9.1', 'musllinux_1_1_aarch64'),
      wheel('0.9.1', 'manylinux2014_x86_64', null),
    ]
    expect(chooseWheel(others, wanted, linux)).toBeNull()
    expect(wheelTags('linux', 'arm64', false)).toEqual(['musllinux_1_1_aarch64'])
    expect(wheelTags('darwin', 'arm64', false)).toEqual(['macosx_11_0_arm64'])
  })

  it('are read from either form of an index', () => {
    const base = 'https://index/simple/uv/'
    const sha256 = 'a'.repeat(64)
    const expected = [{ filename: 'uv-1.whl', url: 'https://index/files/uv-1.whl', sha256 }]
    const json = { files: [{ filename: 'uv-1.whl', url: '/files/uv-1.whl', hashes: { sha256 } }] }
    expect(parseJson(JSON.stringify(json), base)).toEqual(expected)
    expect(parseHtml(`<a href="../../files/uv-1.whl#sha256=${sha256}">uv-1.whl</a>`, base)).toEqual(expected)
  })
})

describe('archives', () => {
  it('give what is wanted, executables as such', async () => {
    const tar = pack()
    tar.entry({ name: 'x/tool', mode: 0o755 }, 'program')
    tar.entry({ name: 'x/README' }, 'words')
    tar.finalize()
    const chunks: Buffer[] = []
    for await (const chunk of tar) chunks.push(chunk as Buffer)
    const file = join(folder, 'a.tar.gz')
    writeFileSync(file, gzipSync(Buffer.concat(chunks)))
    expect(await untarGz(file, folder, (name) => (name === 'x/tool' ? 'tool' : null))).toBe(1)
    expect(readFileSync(join(folder, 'tool'), 'utf8')).toBe('program')
    expect(statSync(join(folder, 'tool')).mode & 0o111).not.toBe(0)
  })

  it('may be zip files, stored or deflated, and write nothing outside', async () => {
    const file = join(folder, 'a.zip')
    writeFileSync(file, zip({ 'a/stored': 'one', 'a/deflated': 'two'.repeat(100), '../evil': 'x' }))
    expect(await unzip(file, folder, (name) => (name.startsWith('a/') ? name : null))).toBe(2)
    expect(readFileSync(join(folder, 'a/stored'), 'utf8')).toBe('one')
    expect(readFileSync(join(folder, 'a/deflated'), 'utf8')).toBe('two'.repeat(100))
    await expect(unzip(file, folder, (name) => name)).rejects.toThrow('names a file outside: ../evil')
  })
})

describe('a download', () => {
  it('is refused when its checksum differs', async () => {
    const server = createServer((_request, response) => response.end('content')).listen(0, '127.0.0.1')
    try {
      await new Promise((resolve) => server.once('listening', resolve))
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/x`
      const file = join(folder, 'x')
      const sha256 = createHash('sha256').update('content').digest('hex')
      // A proxy that refuses: loopback must not go through it.
      const env = { http_proxy: 'http://127.0.0.1:1' }
      await downloadFile({ url, file, sha256, env })
      expect(readFileSync(file, 'utf8')).toBe('content')
      await expect(downloadFile({ url, file, sha256: '0'.repeat(64), env })).rejects.toThrow('refused')
    } finally {
      server.close()
    }
  })
})

describe('the cache', () => {
  it('is filled once by many who ask at the same time, and a failure leaves nothing', async () => {
    const place = join(folder, 'tools', 'x-1')
    await expect(fillOnce(place, () => Promise.reject(new Error('no network')))).rejects.toThrow('no network')
    expect(existsSync(place)).toBe(false)
    let fills = 0
    const fill = async (draft: string) => {
      fills++
      writeFileSync(join(draft, 'x'), 'x')
    }
    await Promise.all([1, 2, 3].map(() => fillOnce(place, fill)))
    expect(fills).toBe(1)
    expect(existsSync(join(place, 'x'))).toBe(true)
  })
})

/** The least of a zip file: local headers, central directory, end (APPNOTE.TXT 4.3). */
function zip(files: Record<string, string>): Buffer {
  const parts: Buffer[] = []
  const directory: Buffer[] = []
  let offset = 0
  for (const [name, text] of Object.entries(files)) {
    const deflated = text.length > 20
    const content = deflated ? deflateRawSync(text) : Buffer.from(text)
    const local = Buffer.alloc(30)
    local.writeUInt32LE(0x04034b50, 0)
    local.writeUInt16LE(name.length, 26)
    const entry = Buffer.alloc(46)
    entry.writeUInt32LE(0x02014b50, 0)
    entry.writeUInt16LE(deflated ? 8 : 0, 10)
    entry.writeUInt32LE(content.length, 20)
    entry.writeUInt16LE(name.length, 28)
    entry.writeUInt32LE(offset, 42)
    parts.push(local, Buffer.from(name), content)
    directory.push(entry, Buffer.from(name))
    offset += 30 + name.length + content.length
  }
  const central = Buffer.concat(directory)
  const end = Buffer.alloc(22)
  end.writeUInt32LE(0x06054b50, 0)
  end.writeUInt32LE(central.length, 12)
  end.writeUInt32LE(offset, 16)
  return Buffer.concat([...parts, central, end])
}
