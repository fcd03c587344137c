import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { CoppiceError } from '../../domain/errors.ts'
import { SOURCE_LIMITS, type SourceLimits, selectSource } from '../../domain/source-rules.ts'
import { sha256 } from '../artifacts/manifest.ts'
import { createSealedStore, type SealedStoreOptions, type Stage } from '../artifacts/sealed-store.ts'
import { inParallel } from '../artifacts/trees.ts'
import type { Sources } from '../contracts.ts'
import { diskFull } from '../disk.ts'
import { folderReader } from './folder.ts'
import { unpack } from './unpack.ts'

export type SourcesOptions = SealedStoreOptions & {
  /** Default: SOURCE_LIMITS. */
  limits?: SourceLimits
}

export type SourceStore = ReturnType<typeof createSources>

/** Source snapshots by digest of their content (R3.8). Several processes may share the directory. */
export function createSources({ limits = SOURCE_LIMITS, ...options }: SourcesOptions) {
  const store = createSealedStore(options)

  /** Fills a stage and seals it; whatever goes wrong, nothing of it stays. */
  async function take(fill: (stage: Stage, digests: Map<string, string>) => Promise<void>) {
    const stage = await store.stage().catch(diskFull)
    try {
      const digests = new Map<string, string>()
      await fill(stage, digests)
      const { digest, files, bytes } = await stage.seal((name) => name, null, digests)
      return { digest, files, bytes }
    } catch (error) {
      return diskFull(error)
    } finally {
      await stage.discard()
    }
  }

  const snapshot: Sources['snapshot'] = (folder, { signal } = {}) =>
    take(async ({ tree }, digests) => {
      const entries = await selectSource(folderReader(folder), limits).catch((error) => {
        if (isMissing(error)) throw new CoppiceError('SourceNotFound', `There is no folder ${folder}`, { folder })
        throw error
      })
      for (const directory of new Set(entries.map((entry) => dirname(entry.path)))) {
        await mkdir(join(tree, directory), { recursive: true })
      }
      await inParallel(
        entries.map((entry) => async () => {
          if (entry.kind === 'link') return symlink(entry.target, join(tree, entry.path))
          const content = await readFile(join(folder, entry.path))
          digests.set(entry.path, sha256(content))
          await writeFile(join(tree, entry.path), content, { mode: entry.executable ? 0o755 : 0o644 })
        }),
        8,
        signal,
      )
    })

  const receive: Sources['receive'] = (stream) => take(({ tree }, digests) => unpack(stream, tree, limits, digests))

  const path: Sources['path'] = async (digest) =>
    /^[0-9a-f]{64}$/.test(digest) ? ((await store.open(digest))?.path ?? null) : null

  return {
    snapshot,
    receive,
    path,
    open: store.open,
    collect: store.collect,
    list: store.list,
    scrub: store.scrub,
    sweep: store.sweep,
  } satisfies Sources & Record<string, unknown>
}

function isMissing(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code
  return code === 'ENOENT' || code === 'ENOTDIR'
}
