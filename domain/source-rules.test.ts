import { describe, expect, it } from 'vitest'
import { CoppiceError } from './errors.ts'
import { checkLinks, checkSourcePath, type FolderReader, SOURCE_LIMITS, selectSource } from './source-rules.ts'

type Fake = Record<string, string | { link: string } | { other: true }>

/** A folder in memory; a name that ends in `.sh` is executable. */
function reader(files: Fake): FolderReader {
  return {
    list: async (directory) => {
      const prefix = directory === '' ? '' : `${directory}/`
      const names = new Map<string, 'file' | 'directory' | 'link' | 'other'>()
      for (const [path, content] of Object.entries(files)) {
        if (!path.startsWith(prefix)) continue
        const [name = '', ...rest] = path.slice(prefix.length).split('/')
        const kind = typeof content === 'string' ? 'file' : 'link' in content ? 'link' : 'other'
        names.set(name, rest.length > 0 ? 'directory' : kind)
      }
      return [...names].map(([name, kind]) => ({ name, kind }))
    },
    stat: async (path) => ({ bytes: String(files[path]).length, executable: path.endsWith('.sh') }),
    readLink: async (path) => (files[path] as { link: string }).link,
    readText: async (path) => String(files[path]),
    pause: async () => {},
  }
}

async function taken(files: Fake): Promise<string[]> {
  return (await selectSource(reader(files), SOURCE_LIMITS)).map((entry) => entry.path)
}

async function refusal(files: Fake, limits = SOURCE_LIMITS): Promise<CoppiceError> {
  const error = await selectSource(reader(files), limits).then(
    () => null,
    (error) => error,
  )
  expect(error).toBeInstanceOf(CoppiceError)
  return error
}

describe('R3.8 what is taken of a folder', () => {
  it('is everything but history and what a build makes anew, sorted', async () => {
    expect(
      await taken({
        'b.py': '',
        'a/c.py': '',
        '.env.example': '',
        '.git/config': '',
        'node_modules/x/index.js': '',
        'a/node_modules/y.js': '',
        '.venv/bin/python': '',
        'a/__pycache__/c.pyc': '',
        '.DS_Store': '',
      }),
    ).toEqual(['.env.example', 'a/c.py', 'b.py'])
  })

  it('honours .gitignore in every directory, the deepest one deciding', async () => {
    expect(
      await taken({
        '.gitignore': '*.log\n/build/\n!keep.log\n# a comment\n',
        'app.py': '',
        'x.log': '',
        'keep.log': '',
        'build/out.js': '',
        'sub/build/in.js': '',
        'sub/.gitignore': '!x.log\nlocal\n',
        'sub/x.log': '',
        'sub/local': '',
        'sub/deep/local': '',
      }),
    ).toEqual(['.gitignore', 'app.py', 'keep.log', 'sub/.gitignore', 'sub/build/in.js', 'sub/x.log'])
  })

  it('does not re-include what lies in an ignored directory, as git does not', async () => {
    expect(await taken({ '.gitignore': 'out/\n!out/keep', 'out/keep': '', a: '' })).toEqual(['.gitignore', 'a'])
  })

  it('refuses what passes a limit, and names the file', async () => {
    const limits = { maxFileBytes: 4, maxFiles: 3, maxTotalBytes: 8 }
    expect((await refusal({ big: '12345' }, limits)).message).toContain('"big" is larger than 4 bytes')
    expect((await refusal({ a: '', b: '', c: '', d: '' }, limits)).details.field).toBe('d')
    expect((await refusal({ a: '1234', b: '1234', c: '1' }, limits)).details.field).toBe('c')
    expect(await selectSource(reader({ a: '1234', b: '1234' }), limits)).toHaveLength(2)
  })

  it('refuses devices, sockets and pipes', async () => {
    expect((await refusal({ pipe: { other: true } })).message).toContain('"pipe" is a device')
  })
})

describe('R14.4 a .gitignore', () => {
  it('that is far longer than any is refused', async () => {
    const error = await refusal({ 'a/.gitignore': 'x\n'.repeat(40_000), 'a/b': '' })
    expect(error.message).toContain('"a/.gitignore" is longer than 65536 characters')
  })

  it('of many rules in a folder of many names leaves everything else its turn', async () => {
    const files = Object.fromEntries(Array.from({ length: 1_000 }, (_, i) => [`x${i}`, '']))
    let pauses = 0
    const folder = { ...reader({ ...files, '.gitignore': 'x*\n' }), pause: async () => void pauses++ }
    expect(await selectSource(folder, SOURCE_LIMITS)).toMatchObject([{ path: '.gitignore' }])
    expect(pauses).toBe(50)
  })
})

describe('R13.3 links', () => {
  const link = (path: string, target: string) => ({ kind: 'link' as const, path, target })

  it('may point anywhere inside the folder, also where nothing is', () => {
    checkLinks([link('a', 'b/c'), link('b/d', '../e'), link('x/y', '..'), link('dangling', 'nowhere')])
  })

  it.each([
    [[link('a', '/etc/passwd')]],
    [[link('a', '../b')]],
    [[link('a/b', '../../c')]],
    [[link('a', '')]],
    [[link('a', 'b'), link('b', 'a')]],
    // Each looks inside when only its text is compared.
    [[link('a/up', '.'), link('a/x', 'up/up/../../b')]],
    [[link('d', 'deep/er'), link('deep/er', '..'), link('x', 'd/..')]],
  ])('are refused when they leave it: %j', (links) => {
    expect(() => checkLinks(links)).toThrow(/is a link that leaves the source folder/)
  })
})

describe('R13.3 links that take long to follow', () => {
  const link = (path: string, target: string) => ({ kind: 'link' as const, path, target })

  it('are refused when their target is longer than a path, without being followed', () => {
    expect(() => checkLinks([link('a', 'x/'.repeat(2_000_000))])).toThrow(/longer than 2048 bytes/)
    expect(() => checkLinks([link('a', 'ü'.repeat(1025))])).toThrow(/longer than 2048 bytes/)
  })

  it('are followed within a bound: thousands of them that lead through one another do not hold anybody up', () => {
    const chain = Array.from({ length: 39 }, (_, i) => link(`l${i}`, `${'x/../'.repeat(400)}l${i + 1}`))
    const many = Array.from({ length: 19_000 }, (_, i) => link(`x${i}`, 'l0'))
    expect(() => checkLinks([...chain, ...many])).toThrow(/one link too many/)
  })

  it('are taken where there are as many as a source may have, of usual length', () => {
    checkLinks(
      Array.from({ length: 20_000 }, (_, i) => link(`packages/p${i}/lib/index.js`, `../../shared/dist/m${i}/index.js`)),
    )
  })
})

describe('R13.3 paths', () => {
  it('repeats no more of a path than one may have', () => {
    const error = (() => {
      try {
        checkSourcePath('x'.repeat(5_000_000))
      } catch (error) {
        return error
      }
    })() as CoppiceError
    expect(error.message.length + String(error.details.field).length).toBeLessThan(5_000)
  })

  it.each(['', '/etc/passwd', '../x', 'a/../../x', 'a//b', './a', 'a/.', 'a\nb', 'a\0b', 'x'.repeat(3000)])(
    'refuses %j',
    (path) => {
      expect(() => checkSourcePath(path)).toThrow(CoppiceError)
    },
  )

  it.each(['a', 'a/b.py', 'ünï/..x', 'a b', '..a'])('takes %j', (path) => {
    checkSourcePath(path)
  })
})
