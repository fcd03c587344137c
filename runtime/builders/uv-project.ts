import { readFile } from 'node:fs/promises'
import { join } from 'node:path'

/** What a `pyproject.toml` with `uv.lock` says about how it is installed. */
export type UvProject = {
  /** Files of the root that decide what is installed. */
  files: string[]
  /**
   * The project itself, or a package in its source, is installed: then every file counts. Without, the packages of the
   * lock are all there is, and a change of the app's code needs no new layer.
   */
  readsTheTree: boolean
  /** Versions in order of preference, as uv reads them; the last is what the project demands. */
  wantedPython: string[]
  /** It has settings of its own for uv. */
  hasSettings: boolean
}

/**
 * Reads what is needed with patterns: uv.lock is written by a machine, one value a line, and of pyproject.toml only
 * the presence of a table is asked.
 */
export async function readUvProject(source: string): Promise<UvProject> {
  const read = (name: string) => readFile(join(source, name), 'utf8').catch(() => null)
  const [lock, pyproject, settings, pinned] = await Promise.all(
    ['uv.lock', 'pyproject.toml', 'uv.toml', '.python-version'].map(read),
  )
  const files = [
    'pyproject.toml',
    'uv.lock',
    ...(settings === null ? [] : ['uv.toml']),
    ...(pinned === null ? [] : ['.python-version']),
  ]
  return {
    files,
    readsTheTree: /^source = \{ (?:editable|directory|path) = |^source = \{ virtual = "(?!\.")/m.test(lock ?? ''),
    wantedPython: wantedPython(/^requires-python = "(.{0,256})"/m.exec(lock ?? '')?.[1] ?? '>=3.9', pinned ?? null),
    hasSettings: settings !== null || /^[ \t]*\[\[?tool\.uv\b/m.test(pyproject ?? ''),
  }
}

/** The pinned version if it is there, else the one apps are promised if the project takes it, else any it takes. */
function wantedPython(required: string, pinned: string | null): string[] {
  const version = /^[\w.]{1,64}$/m.exec(pinned ?? '')?.[0]
  return [...(version === undefined ? [] : [version]), `${required},==3.11.*`, required]
}

/**
 * Whether a `pyproject.toml` names packages that the app needs to run: `dependencies` of the table `[project]`, with at
 * least one entry. Line by line, because a pattern over all of them is slow or too deep for some text.
 */
export function namesPackages(pyproject: string): boolean {
  const project = pyproject.split(/^(?=\[)/m).find((table) => /^\[project\]/.test(table)) ?? ''
  const lines = project.split('\n')
  const at = lines.findIndex((line) => /^dependencies[ \t]*=[ \t]*\[/.test(line))
  if (at === -1) return false
  const first = (lines[at] ?? '').replace(/^[^[]*\[/, '')
  const entry = [first, ...lines.slice(at + 1)].find((line) => !/^[ \t\r]*(?:#|$)/.test(line))
  return entry !== undefined && /^[ \t]*["']/.test(entry)
}
