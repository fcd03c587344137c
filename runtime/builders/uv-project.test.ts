import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { namesPackages, readUvProject } from './uv-project.ts'

describe('namesPackages', () => {
  it.each([
    ['on one line', '[project]\nname = "app"\ndependencies = ["flask"]\n', true],
    [
      'on lines of their own, with comments',
      "[project]\ndependencies = [ # all\r\n\n  # the web\n\t'flask',\n]\n",
      true,
    ],
    ['none', '[project]\nname = "app"\ndependencies = [\n  # "flask",\n]\n', false],
    ['of another table', '[project]\nname = "app"\n[tool.poetry]\ndependencies = ["flask"]\n', false],
    ['without a project', '[tool.ruff]\nline-length = 120\n', false],
  ])('%s', (_, text, expected) => {
    expect(namesPackages(text)).toBe(expected)
  })

  it.each([
    ['comments', `dependencies = [${'# \r\n'.repeat(2_000_000)}`],
    ['empty lines', `dependencies = [${'\n'.repeat(5_000_000)}`],
    ['beginnings in comments', 'dependencies=[#\u2028'.repeat(200_000)],
    ['blanks', `dependencies=[${' '.repeat(5_000_000)}x`],
  ])('R14.4 is answered in time that grows with the length of the text, full of %s', (_, text) => {
    expect(namesPackages(`[project]\n${text}`)).toBe(false)
  })
})

describe('the project of a source', () => {
  const projectOf = async (files: Record<string, string>) => {
    const folder = mkdtempSync(join(tmpdir(), 'coppice-uv-'))
    try {
      for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text)
      return await readUvProject(folder)
    } finally {
      rmSync(folder, { recursive: true })
    }
  }

  it.each([
    ['[tool.uv]\n', true],
    ['[project]\n\n  [[tool.uv.index]]\n', true],
    ['[tool.uvx]\n# [tool.uv]\n', false],
  ])('with %j: it has settings of its own for uv: %s', async (pyproject, expected) => {
    expect((await projectOf({ 'pyproject.toml': pyproject })).hasSettings).toBe(expected)
  })

  it.each([
    ['blank lines', '\n'.repeat(1_000_000)],
    ['blanks', ' '.repeat(1_000_000)],
    ['blank lines of blanks', ' \t\r\n\u2028'.repeat(200_000)],
    ['quotes', '"'.repeat(1_000_000)],
    ['brackets', '['.repeat(1_000_000)],
  ])('R14.4 is read in time that grows with its length, full of %s', async (_, text) => {
    const names = ['pyproject.toml', 'uv.lock', '.python-version']
    const project = await projectOf(Object.fromEntries(names.map((name) => [name, text])))
    expect(project).toMatchObject({
      hasSettings: false,
      readsTheTree: false,
      wantedPython: ['>=3.9,==3.11.*', '>=3.9'],
    })
  })

  it('asks for no version that is too long for a word of a command', async () => {
    const long = '3'.repeat(300_000)
    const project = await projectOf({ 'uv.lock': `requires-python = "${long}"\n`, '.python-version': long })
    expect(project.wantedPython).toEqual(['>=3.9,==3.11.*', '>=3.9'])
  })
})
