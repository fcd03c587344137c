import { describe, expect, it } from 'vitest'
import { namesPackages } from './uv-project.ts'

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

  it('is quick about a text that is made to be slow', () => {
    const text = `[project]\ndependencies = [${'# \r\n'.repeat(100_000)}`
    const start = performance.now()
    expect(namesPackages(text)).toBe(false)
    expect(performance.now() - start).toBeLessThan(2000)
  })
})
