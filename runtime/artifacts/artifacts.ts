import type { Artifacts, RunSpec } from '../contracts.ts'
import { createSealedStore, type SealedStoreOptions } from './sealed-store.ts'

/**
 * What the manifest of an artifact says: the layers it stands on, and how it is run. Paths in layers are written
 * `layer:<key>/<path>` and made absolute when the artifact is opened, so that the data directory can be moved.
 */
export type ArtifactMeta = { layers: string[]; run: RunSpec }

export type ArtifactStore = ReturnType<typeof createArtifacts>

/**
 * Layers and artifacts, kept by key. Options: see SealedStoreOptions; `directory` may be shared with nothing else.
 */
export function createArtifacts(options: SealedStoreOptions) {
  const store = createSealedStore(options)

  /** As the contract says: an artifact with a damaged layer counts as damaged, for it cannot run. */
  const open: Artifacts['open'] = async (key) => {
    const sealed = await store.open(key)
    if (sealed === null) return null
    const meta = sealed.meta as ArtifactMeta
    for (const layer of meta.layers) if ((await store.open(layer)) === null) return null
    return { path: sealed.path, run: withAbsolutePaths(meta.run, store.treeOf) }
  }

  const collect: Artifacts['collect'] = (limits) => store.collect(limits, layersOf)

  return { open, collect, scrub: store.scrub, sweep: store.sweep, store } satisfies Artifacts & Record<string, unknown>
}

/** A path in a kept tree, as it is written into a manifest. */
export function inLayer(key: string, path = ''): string {
  return path === '' ? `layer:${key}` : `layer:${key}/${path}`
}

/** Null of a layer. */
function layersOf(meta: unknown): string[] | null {
  return (meta as Partial<ArtifactMeta> | undefined)?.layers ?? null
}

function withAbsolutePaths(run: RunSpec, treeOf: (key: string) => string): RunSpec {
  const absolute = (text: string) => text.replace(/^layer:([^/]+)/, (_, key: string) => treeOf(key))
  const values = (record: Record<string, string>) =>
    Object.fromEntries(Object.entries(record).map(([name, value]) => [name, absolute(value)]))
  return { ...run, path: run.path.map(absolute), vars: values(run.vars), links: values(run.links) }
}
