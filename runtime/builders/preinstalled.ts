import { constants } from 'node:fs'
import { copyFile, readdir, writeFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import type { Ensured, Job } from './job.ts'
import { folderIn, readIn, writeIn } from './stage-files.ts'
import { pythonOf } from './venv.ts'

/** What is in a layer of pre-installed libraries. */
export type PreinstalledMeta = {
  /** Its packages, relative to the tree, e.g. `lib/python3.11/site-packages`. */
  site: string
  /** Distribution, by its normalised name → version. */
  versions: Record<string, string>
  /** Programs in `bin`. */
  programs: string[]
}

/** Names of what a virtual environment has in `bin` by itself. */
const OF_THE_VENV = /^(?:python[\d.]*|activate.*|deactivate.*|pydoc\.bat)$/

export async function installPreinstalled(job: Job, uv: string, list: readonly string[]): Promise<PreinstalledMeta> {
  const file = join(job.stage.scratch, 'preinstalled.txt')
  await writeFile(file, `${list.join('\n')}\n`)
  job.onProgress('Installing the pre-installed libraries; this happens once')
  await job.run([uv, 'pip', 'install', '--python', pythonOf(job), '-r', file], {
    cwd: job.stage.scratch,
    name: 'uv pip install -r preinstalled.txt',
  })
  const site = await siteOf(job.stage.tree)
  const programs = (await readdir(await folderIn(job.stage.tree, 'bin'))).filter((name) => !OF_THE_VENV.test(name))
  return { site, versions: await versionsIn(await folderIn(job.stage.tree, site)), programs: programs.sort() }
}

/**
 * Resolves requirements.txt as pip would in an environment that has the pre-installed libraries: their versions stay
 * unless a requirement rules them out. Returns the file with what is then missing, relative to `cwd`; null for nothing.
 * Installing by the requirements alone would bring newest versions of shared dependencies, on which the pre-installed
 * libraries beneath were never meant to run.
 */
export async function notInstalledBeneath(
  job: Job,
  uv: string,
  beneath: PreinstalledMeta,
  cwd: string,
): Promise<string | null> {
  const { scratch } = job.stage
  const inCwd = (name: string) => join(relative(scratch, cwd), name)
  // uv prefers the versions of an output file that is there already.
  await writeIn(
    scratch,
    inCwd('.resolved.txt'),
    Object.entries(beneath.versions)
      .map(([name, version]) => `${name}==${version}\n`)
      .join(''),
  )
  await job.run(
    [
      uv,
      'pip',
      'compile',
      '--quiet',
      '--no-header',
      '--no-annotate',
      '--emit-index-url',
      '--emit-find-links',
      '--python',
      pythonOf(job),
      'requirements.txt',
      '--output-file',
      '.resolved.txt',
    ],
    { cwd, name: 'uv pip compile requirements.txt' },
  )
  const lines = (await readIn(scratch, inCwd('.resolved.txt'))).split('\n')
  const missing = lines.filter((line) => {
    const [, name, version] = /^([\w.-]+)==(\S+)$/.exec(line.trim()) ?? []
    return line.trim() !== '' && (name === undefined || beneath.versions[normalised(name)] !== version)
  })
  if (missing.every((line) => line.startsWith('-'))) return null
  await writeIn(scratch, inCwd('.missing.txt'), `${missing.join('\n')}\n`)
  return '.missing.txt'
}

/**
 * Puts a layer beneath the virtual environment of the stage: Python looks there after its own packages. The path is
 * relative, from one kept tree to another, so that the data directory can be moved. Programs are copied, because they
 * start the Python they lie beside: beneath, they would not see the app's packages.
 */
export async function layBeneath(job: Job, beneath: Ensured): Promise<void> {
  const { site, programs } = beneath.meta as PreinstalledMeta
  const upToKept = '../'.repeat(site.split('/').length + 2)
  await writeIn(job.stage.tree, `${site}/coppice-preinstalled.pth`, `${upToKept}${beneath.key}/tree/${site}\n`)
  const bin = await folderIn(job.stage.tree, 'bin')
  const own = new Set(await readdir(bin))
  // Not what a link of the layer leads to.
  const files = new Set(beneath.entries.flatMap(([path, kind]) => (kind === 'f' ? [path] : [])))
  for (const name of programs) {
    if (own.has(name) || !files.has(`bin/${name}`)) continue
    await copyFile(join(beneath.path, 'bin', name), join(bin, name), constants.COPYFILE_EXCL)
  }
}

async function siteOf(venv: string): Promise<string> {
  const python = (await readdir(await folderIn(venv, 'lib'))).find((name) => name.startsWith('python'))
  return `lib/${python}/site-packages`
}

async function versionsIn(site: string): Promise<Record<string, string>> {
  const names = await readdir(site)
  const found = names.flatMap((name) => {
    const [, distribution, version] = /^(.+)-([^-]+)\.dist-info$/.exec(name) ?? []
    return distribution === undefined || version === undefined ? [] : [[normalised(distribution), version] as const]
  })
  return Object.fromEntries(found.sort())
}

/** One name for all spellings (PEP 503). */
function normalised(name: string): string {
  return name.toLowerCase().replace(/[-_.]+/g, '-')
}
