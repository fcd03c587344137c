/** Folders from which apps may be deployed by path (R3.8). */
import { realpath, stat } from 'node:fs/promises'
import { isAbsolute, join, relative, resolve, sep } from 'node:path'
import { CoppiceError } from '../domain/errors.ts'

/**
 * The folder that `path` names: relative to a source root, or absolute within one.
 *
 * @throws CoppiceError InvalidInput for a path that leaves the roots, also through links; SourceNotFound.
 */
export async function resolveSource(roots: string[], path: string): Promise<string> {
  if (path.split(/[/\\]/).includes('..') || path.includes('\0')) throw refused(path, 'must not contain ".."')
  for (const root of roots) {
    const candidate = isAbsolute(path) ? path : join(root, path)
    if (!isWithin(resolve(root), resolve(candidate))) continue
    const real = await realpath(candidate).catch(() => null)
    if (real === null || !(await stat(real)).isDirectory()) continue
    if (!isWithin(await realpath(root), real)) throw refused(path, 'leads out of the source root through a link')
    return real
  }
  if (isAbsolute(path) && !roots.some((root) => isWithin(resolve(root), resolve(path))))
    throw refused(path, `lies outside of the source roots (${roots.join(', ')})`)
  throw new CoppiceError('SourceNotFound', `There is no folder ${path} under ${roots.join(' or ')}`, {
    field: 'source_code_path',
  })
}

const refused = (path: string, reason: string): CoppiceError =>
  new CoppiceError('InvalidInput', `source_code_path: ${path} ${reason}`, { field: 'source_code_path' })

function isWithin(root: string, path: string): boolean {
  const way = relative(root, path)
  return way === '' || (!way.startsWith(`..${sep}`) && way !== '..' && !isAbsolute(way))
}
