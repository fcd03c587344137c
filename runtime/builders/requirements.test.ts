import { describe, expect, it } from 'vitest'
import { CoppiceError } from '../../domain/errors.ts'
import { readRequirements, requirementLines, withoutEditables } from './requirements.ts'

const read = (files: Record<string, string>) => readRequirements('requirements.txt', async (path) => files[path])

describe('requirements.txt', () => {
  it('D6 reaches included files, constraints and packages in the source', async () => {
    expect(
      await read({
        'requirements.txt': `
# a comment
flask==3.0.3  # another
-r more/base.txt
-c constraints.txt
--requirement=more/extra.txt
-e ./lib//
./wheels/x-1.0-py3-none-any.whl
tool[cli] @ file:tools/tool
vendor/pkg[extra] ; python_version > "3"
--find-links wheels
`,
        'more/base.txt': '-r ../shared.txt\nrequests>=2 \\\n  ; python_version > "3"\n',
        'more/extra.txt': '-r base.txt',
        'shared.txt': '.',
        'constraints.txt': 'urllib3<3',
      }),
    ).toEqual({
      files: ['requirements.txt', 'more/base.txt', 'shared.txt', 'constraints.txt', 'more/extra.txt'],
      local: ['', 'lib', 'wheels/x-1.0-py3-none-any.whl', 'tools/tool', 'vendor/pkg', 'wheels'],
      hashes: false,
    })
  })

  it('leaves what comes from elsewhere alone', async () => {
    const text =
      '--index-url https://example.org/simple\n-r https://example.org/r.txt\nx @ https://example.org/x.whl\ngit+https://example.org/y.git\n--pre\nz[a,b]>=1,<2\n'
    expect(await read({ 'requirements.txt': text })).toEqual({ files: ['requirements.txt'], local: [], hashes: false })
  })

  it('notices hashes', async () => {
    expect((await read({ 'requirements.txt': 'flask==3.0.3 \\\n    --hash=sha256:00' })).hashes).toBe(true)
  })

  it.each([
    ['-r nowhere.txt', /names nowhere.txt, which is not in the source/],
    ['-r ../outside.txt', /lies outside of the source/],
    ['/opt/x.whl', /not in the source/],
    ['-e ../lib', /lies outside of the source/],
  ])('refuses %j, because a layer must not depend on what is not in the source', async (line, reason) => {
    const error = await read({ 'requirements.txt': line }).catch((error) => error)
    expect(error).toBeInstanceOf(CoppiceError)
    expect(error.code).toBe('BuildFailed')
    expect(error.message).toMatch(reason)
  })

  it('knows a package by its path without its extras', async () => {
    const text = './lib[a,b]\n./[odd]x[a]\n./x]\n./y[a]b]\n./[z]\n'
    const { local } = await read({ 'requirements.txt': text })
    expect(local).toEqual(['lib', '[odd]x', 'x]', 'y[a]b]', ''])
  })

  it('reads what stands behind a lone CR, as uv does, so that no file hides there', async () => {
    const files = { 'requirements.txt': 'flask # more\r-r more.txt \\\r\nrequests', 'more.txt': 'requests' }
    expect((await read(files)).files).toEqual(['requirements.txt', 'more.txt'])
  })

  it.each([
    ['beginnings of comments', `${' #'.repeat(500_000)}\u2028x`],
    ['beginnings of extras', `./${'['.repeat(1_000_000)}]x`],
    ['extras in extras', `./${'['.repeat(1_000_000)}[]x[]`],
    ['blanks', `-e${' '.repeat(1_000_000)}\u2028${' '.repeat(1_000_000)}`],
    ['names', `${'a-'.repeat(500_000)}${' '.repeat(500_000)}@`],
    ['lines that go on', '\\\r'.repeat(500_000)],
    ['packages in the source', Array.from({ length: 200_000 }, (_, i) => `./p${i}`).join('\n')],
    ['files that are included again', '-r requirements.txt\n'.repeat(200_000)],
  ])('R14.4 is read in time that grows with its length, full of %s', async (_, text) => {
    const error = await read({ 'requirements.txt': text }).catch((error) => error)
    expect(error instanceof CoppiceError || error.files.length === 1).toBe(true)
  })

  it('does not repeat a path that is longer than any of a source', async () => {
    const error = await read({ 'requirements.txt': `-r ${'x'.repeat(5_000_000)}` }).catch((error) => error)
    expect(error.message).toBe('requirements.txt names a path of 5000000 characters, which is not in the source')
  })

  it('joins continued lines, and makes editable packages plain ones', () => {
    expect(requirementLines('a \\\n  b\n\n#c\nd#e')).toEqual(['a    b', 'd#e'])
    expect(withoutEditables('-e ./a\nb\n --editable=./c\n-ee\n')).toBe('./a\nb\n./c\n-ee\n')
  })
})
