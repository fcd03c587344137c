import { describe, expect, it } from 'vitest'
import { commandOf, needsPython, nodeInstaller, pythonDeclaration, type SourceShape } from './runtime-contract.ts'

function shape(
  files: string[],
  scripts: Record<string, string> | null = null,
  command: string[] | null = null,
): SourceShape {
  return { files: new Set(files), scripts, command }
}

describe('R3.6 the default command', () => {
  it('is app.yaml’s when it has one', () => {
    expect(commandOf(shape(['a.py'], { start: 'node x' }, ['python', 'b.py']))).toEqual(['python', 'b.py'])
  })

  it('is npm run start where package.json has a start script, even beside Python', () => {
    expect(commandOf(shape(['app.py', 'requirements.txt'], { start: 'node x' }))).toEqual(['npm', 'run', 'start'])
  })

  it('is python with the first .py file by name, and nothing is run where there is neither', () => {
    expect(commandOf(shape(['z.py', 'app.py', 'README.md']))).toEqual(['python', 'app.py'])
    expect(commandOf(shape(['app.py'], { build: 'vite build' }))).toEqual(['python', 'app.py'])
    expect(commandOf(shape(['README.md']))).toBeNull()
  })
})

describe('R3.6 the declaration of dependencies', () => {
  it('is requirements.txt wherever it is, else pyproject.toml with uv.lock, and not one of the two', () => {
    expect(pythonDeclaration(shape(['requirements.txt', 'pyproject.toml', 'uv.lock']))).toBe('requirements')
    expect(pythonDeclaration(shape(['pyproject.toml', 'uv.lock']))).toBe('uv')
    expect(pythonDeclaration(shape(['pyproject.toml']))).toBe('none')
  })

  it('is pnpm’s lock before npm’s', () => {
    expect(nodeInstaller(shape(['pnpm-lock.yaml', 'package-lock.json']))).toBe('pnpm')
    expect(nodeInstaller(shape(['package-lock.json']))).toBe('npm ci')
    expect(nodeInstaller(shape(['package.json']))).toBe('npm install')
  })

  it('asks for Python only where something needs it', () => {
    expect(needsPython(shape(['app.py']))).toBe(true)
    expect(needsPython(shape(['server.js'], {}, ['node', 'server.js']))).toBe(false)
    expect(needsPython(shape(['server.js'], null, ['node', 'server.js']))).toBe(false)
    expect(needsPython(shape(['tool.py'], { start: 'node x' }))).toBe(false)
    expect(needsPython(shape(['tool.py'], { start: 'node x' }, ['uvicorn', 'tool:app']))).toBe(true)
    expect(needsPython(shape([], {}, ['uvicorn', 'backend.main:app']))).toBe(true)
    expect(needsPython(shape(['app.py'], {}))).toBe(true)
    expect(needsPython(shape(['tool.py'], {}, ['next', 'start']))).toBe(false)
    expect(needsPython(shape(['requirements.txt'], { start: 'node x' }))).toBe(true)
  })
})
