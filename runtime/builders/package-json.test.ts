import { describe, expect, it } from 'vitest'
import { installFiles, nodeInstall, readPackageJson } from './package-json.ts'

const plan = (content: object, files: string[] = []) =>
  nodeInstall(readPackageJson(JSON.stringify(content)), new Set(files))

describe('package.json', () => {
  it('without dependencies needs no npm at all', () => {
    expect(plan({ scripts: { start: 'node x', build: 'node y' } })).toBe('none')
    expect(plan({ dependencies: {} })).toBe('none')
  })

  it('with dependencies from a registry makes a layer', () => {
    expect(plan({ dependencies: { a: '^1' } })).toBe('layer')
    expect(plan({ devDependencies: { a: 'github:x/y' } })).toBe('layer')
  })

  it.each([
    { dependencies: { a: 'file:../a' } },
    { dependencies: { a: './a' } },
    { workspaces: ['packages/*'] },
    { dependencies: { a: '^1' }, workspaces: ['packages/*'] },
    { dependencies: { a: '^1' }, scripts: { postinstall: 'prisma generate' } },
    { scripts: { prepare: 'x' } },
    { dependencies: { a: '^1' }, pnpm: { patchedDependencies: { a: 'patches/a.patch' } } },
  ])('is installed with the source where the installation reads or writes it: %j', (content) => {
    expect(plan(content)).toBe('inTree')
  })

  it('is installed with the source where pnpm reads further files of it', () => {
    for (const file of ['pnpm-workspace.yaml', '.pnpmfile.cjs'])
      expect(plan({ dependencies: { a: '^1' } }, [file])).toBe('inTree')
  })

  it('R4.2 makes a new layer for changed packages only, not for a changed version or script', () => {
    const of = (content: object) =>
      installFiles(readPackageJson(JSON.stringify(content)), new Set(['package-lock.json', 'app.js']))
    const base = { name: 'x', dependencies: { a: '1' } }
    expect(of({ ...base, version: '2', scripts: { start: 'y' } })).toEqual(of(base))
    expect(of({ ...base, dependencies: { a: '2' } })).not.toEqual(of(base))
    expect(of(base).map((file) => file.name)).toEqual(['package.json', 'package-lock.json'])
  })

  it('that is none says what is wrong', () => {
    expect(() => readPackageJson('{')).toThrow(/package.json cannot be read: /)
    expect(() => readPackageJson('{"scripts": {"start": 1}}')).toThrow(/scripts.start: /)
  })
})
