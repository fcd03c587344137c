/** Artifacts, layers and sources in one list, for people who want to know where the disk went (R4.3, R14.4). */
import type { Collected, KeptThing, Scrubbed } from '../../domain/kept-things.ts'
import type { SourceStore } from '../sources/sources.ts'
import type { ArtifactStore } from './artifacts.ts'

/** Count and size are no reason to remove something here, only age is. */
const ANY = { maxCount: Number.POSITIVE_INFINITY, maxBytes: Number.POSITIVE_INFINITY }

export function createKeptThings(artifacts: ArtifactStore, sources: SourceStore) {
  return {
    async list(): Promise<KeptThing[]> {
      const built = (await artifacts.store.list()).map(({ key, bytes, usedAt, meta, unread }): KeptThing => {
        const runs = typeof meta === 'object' && meta !== null && 'run' in meta
        return { key, kind: unread !== null ? null : runs ? 'artifact' : 'layer', bytes, usedAt, unread }
      })
      const taken = (await sources.list()).map(
        ({ key, bytes, usedAt, unread }): KeptThing => ({ key, kind: 'source', bytes, usedAt, unread }),
      )
      return [...built, ...taken]
    },
    async prune({ maxAgeMs }: { maxAgeMs: number }): Promise<Collected> {
      const built = await artifacts.collect({ ...ANY, maxAgeMs })
      const taken = await sources.collect({ ...ANY, maxAgeMs })
      return {
        removed: [...built.removed, ...taken.removed],
        kept: built.kept + taken.kept,
        stuck: [...built.stuck, ...taken.stuck],
      }
    },
    async scrub(): Promise<Scrubbed> {
      const built = await artifacts.scrub()
      const taken = await sources.scrub()
      return {
        checked: built.checked + taken.checked,
        damaged: [...built.damaged, ...taken.damaged],
        unchecked: [...built.unchecked, ...taken.unchecked],
      }
    },
  }
}
