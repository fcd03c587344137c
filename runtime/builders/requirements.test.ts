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

  it('joins continued lines, and makes editable packages plain ones', () => {
    expect(requirementLines('a \\\n  b\n\n#c\nd#e')).toEqual(['a    b', 'd#e'])
    expect(withoutEditables('-e ./a\nb\n --editable=./c\n-ee\n')).toBe('./a\nb\n./c\n-ee\n')
  })
})
