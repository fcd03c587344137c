/** What the stores of artifacts, layers and sources tell of what they keep (R4.3, R14.4). */

export type KeptThing = {
  key: string
  /** Null of what may be an artifact or a layer, but cannot be read. */
  kind: 'artifact' | 'layer' | 'source' | null
  bytes: number
  /** Unix ms. */
  usedAt: number
  /** Why it cannot be read, so that nothing but its key is known; null as a rule. */
  unread: string | null
}

type Failed = { key: string; reason: string }

/** `stuck`: what nothing needs as far as is known, and could not be judged or taken out. */
export type Collected = { removed: string[]; kept: number; stuck: Failed[] }

/** Keys; `unchecked` are those of which nothing is known, or that are damaged and cannot be taken out. */
export type Scrubbed = { checked: number; damaged: string[]; unchecked: Failed[] }
