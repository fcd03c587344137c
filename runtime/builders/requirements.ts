import { CoppiceError } from '../../domain/errors.ts'

/**
 * What requirements.txt reaches. The key of a layer has to cover every file that decides what is installed: included
 * files, constraints, and packages that lie in the source itself.
 */
export type Requirements = {
  /** Requirement and constraint files, relative to the source, the given one first. */
  files: string[]
  /** Packages in the source: files (wheels, archives) or directories. */
  local: string[]
  /** Asks for packages by hash; then nothing may be resolved anew. */
  hashes: boolean
}

/** No path of a source is longer. */
const MAX_TARGET_CHARS = 4096

/** Reads a text file of the source; undefined where there is none. */
export type ReadText = (path: string) => Promise<string | undefined>

/** Follows `-r` and `-c` from `file`. Throws BuildFailed for what is missing or lies outside of the source. */
export async function readRequirements(file: string, read: ReadText): Promise<Requirements> {
  const files = new Set<string>()
  const local = new Set<string>()
  let hashes = false
  const visit = async (path: string, from: string | null): Promise<void> => {
    if (files.has(path)) return
    const text = await read(path)
    if (text === undefined)
      throw wrong(`${from ?? 'The source'} names ${path}, which is not in the source`, from ?? path)
    files.add(path)
    for (const line of requirementLines(text)) {
      if (/(?:^|\s)--(?:hash|require-hashes)\b/.test(line)) hashes = true
      const reference = referenceOf(line)
      if (reference === null) continue
      const target = within(reference.target, reference.kind === 'package' ? '' : path, path)
      if (reference.kind === 'file') await visit(target, path)
      else local.add(target)
    }
  }
  await visit(file, null)
  return { files: [...files], local: [...local], hashes }
}

/** Logical lines: comments out, continued lines joined. A lone CR ends one too, as pip and uv read it. */
export function requirementLines(text: string): string[] {
  return text
    .replace(/\\(?:\r\n|\r|\n)/g, ' ')
    .split(/[\r\n]/)
    .map((line) => withoutComment(line).trim())
    .filter((line) => line !== '')
}

function withoutComment(line: string): string {
  const at = line.search(/(?:^|\s)#/)
  return at === -1 ? line : line.slice(0, at)
}

/**
 * The text with editable packages made plain ones: an editable installation points at the directory it was built in,
 * which is gone when the app runs.
 */
export function withoutEditables(text: string): string {
  return text.replace(/^[ \t]*(?:-e|--editable)(?:[ \t]+|=)/gm, '')
}

function referenceOf(line: string): { kind: 'file' | 'package'; target: string } | null {
  const option = /^(?:-r|--requirement|-c|--constraint)(?:\s+|=)?(\S+)/.exec(line)
  if (option?.[1] !== undefined) return isUrl(option[1]) ? null : { kind: 'file', target: option[1] }
  const links = /^(?:-f|--find-links)(?:\s+|=)?(\S+)/.exec(line)
  if (links?.[1] !== undefined) return isUrl(links[1]) ? null : { kind: 'package', target: links[1] }
  const plain = line.replace(/^(?:-e|--editable)(?:\s+|=)/, '')
  if (plain.startsWith('-')) return null
  const named = /^[\w.-]+(?:\[[^\]]*\])?\s*@\s*(\S+)/.exec(plain)?.[1] ?? plain.split(/\s|;/)[0] ?? ''
  const path = named.replace(/^file:(?:\/\/)?/, '')
  const isPath =
    named.startsWith('file:') ||
    (!isUrl(named) && (/^\.{1,2}(?:\/|\[|$)|\//.test(path) || /\.(?:whl|zip|tar\.\w+)$/.test(path)))
  return isPath ? { kind: 'package', target: withoutExtras(path) } : null
}

/** `lib[extra]` is in `lib`. */
function withoutExtras(path: string): string {
  if (!path.endsWith(']')) return path
  const open = path.indexOf('[', path.lastIndexOf(']', path.length - 2) + 1)
  return open === -1 ? path : path.slice(0, open)
}

/** pip reads files relative to the file that names them, packages relative to where it was started. */
function within(target: string, base: string, from: string): string {
  if (target.length > MAX_TARGET_CHARS)
    throw wrong(`${from} names a path of ${target.length} characters, which is not in the source`, from)
  if (target.startsWith('/')) throw wrong(`${from} names ${target}, which is not in the source`, from)
  const parts = base.split('/').slice(0, -1)
  for (const part of target.split('/')) {
    if (part === '' || part === '.') continue
    if (part !== '..') parts.push(part)
    else if (parts.pop() === undefined) throw wrong(`${from} names ${target}, which lies outside of the source`, from)
  }
  return parts.join('/')
}

function isUrl(text: string): boolean {
  return /^[a-z][a-z0-9+.-]+:\/\//i.test(text) && !text.startsWith('file:')
}

function wrong(message: string, field: string): CoppiceError {
  return new CoppiceError('BuildFailed', message, { field, step: 'read requirements.txt' })
}
