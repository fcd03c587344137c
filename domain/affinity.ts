import { ROUTER_COOKIE } from './product.ts'

/**
 * Session affinity (DESIGN D8): a routing key belongs to the slot with the highest hash of (key, slot). There is no
 * session store: every router process finds the same slot by arithmetic, and when a slot comes or goes no key moves
 * but those that must (rendezvous hashing, unweighted on purpose: a weight that changes moves sessions).
 *
 * Keys are byte strings: one character per byte, as Node gives header values. All slots lists hold distinct numbers.
 */

/** 64 bits of a key, as two unsigned 32-bit halves; computed once per request. */
export type KeyDigest = { readonly a: number; readonly b: number }

/** A source of unsigned 32-bit random numbers; a cryptographic one, as minted keys must not be guessable. */
export type RandomWord = () => number

/** The finaliser of MurmurHash3: each bit of the input flips each bit of the output with a probability near 1/2. */
function mix(word: number): number {
  let h = word
  h ^= h >>> 16
  h = Math.imul(h, 0x85ebca6b)
  h ^= h >>> 13
  h = Math.imul(h, 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

export function digestKey(key: string): KeyDigest {
  let a = 0x9e3779b9
  let b = 0x7f4a7c15
  for (let i = 0; i < key.length; i++) {
    const byte = key.charCodeAt(i) & 0xff
    a = Math.imul(a ^ byte, 0xcc9e2d51)
    a = (a << 15) | (a >>> 17)
    b = Math.imul(b ^ byte, 0x1b873593)
    b = (b << 13) | (b >>> 19)
  }
  a = mix(a ^ key.length)
  b = mix(b + a)
  return { a: (a + b) >>> 0, b }
}

/** How strongly a key is drawn to a number (a slot, an epoch): an integer below 2^53, so that `>` compares exactly. */
function score(key: KeyDigest, of: number): number {
  const seed = Math.imul(of + 1, 0x9e3779b1)
  const high = mix(key.a ^ seed)
  const low = mix(key.b ^ mix(seed ^ high))
  return high * 0x200000 + (low >>> 11)
}

/**
 * The slot that gets the key: the strongest of those that `usable` accepts; -1 if it accepts none.
 * Ties, which 53 bits make theoretical, go to the lower slot, so the order of `slots` does not matter.
 */
export function pickSlot(key: KeyDigest, slots: readonly number[], usable?: (slot: number) => boolean): number {
  let best = -1
  let bestScore = -1
  for (let i = 0; i < slots.length; i++) {
    const slot = slots[i] as number
    const s = score(key, slot)
    if ((s > bestScore || (s === bestScore && slot < best)) && (usable === undefined || usable(slot))) {
      best = slot
      bestScore = s
    }
  }
  return best
}

/** All slots in the order in which the key prefers them: the first is its home, a failed one is followed by the next. */
export function rankSlots(key: KeyDigest, slots: readonly number[]): number[] {
  return slots
    .map((slot) => ({ slot, score: score(key, slot) }))
    .sort((x, y) => y.score - x.score || x.slot - y.slot)
    .map((entry) => entry.slot)
}

// ---- keys ----------------------------------------------------------------------------------------------------

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** Longest `X-Routing-Key`, in bytes of UTF-8 (R7.2). */
export const MAX_KEY_BYTES = 128

/** The key in a cookie value: a UUID of any version, lower-cased; anything else counts as no cookie (R7.4). */
export function keyFromCookie(value: string): string | null {
  if (value.length !== 36) return null
  const key = value.toLowerCase()
  return UUID.test(key) ? key : null
}

/**
 * The key in an `X-Routing-Key` header: not blank, at most 128 bytes, valid UTF-8; null otherwise (R7.2).
 * @param raw the header's value, one character per byte
 */
export function keyFromHeader(raw: string): string | null {
  if (raw.length === 0 || raw.length > MAX_KEY_BYTES) return null
  const text = decodeUtf8(raw)
  return text === null || text.trim() === '' ? null : raw
}

function decodeUtf8(bytes: string): string | null {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the range is ASCII
  if (/^[\x00-\x7f]*$/.test(bytes)) return bytes
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Uint8Array.from(bytes, (c) => c.charCodeAt(0)))
  } catch {
    return null
  }
}

/** What the last eight digits of a minted key have to be, given its first 96 bits. */
function tagOf(w0: number, w1: number, w2: number): number {
  return mix(w2 + mix(w1 + mix(w0 ^ 0x636f7070)))
}

const hex = (word: number): string => (word >>> 0).toString(16).padStart(8, '0')

/**
 * A UUIDv8 (RFC 9562 5.8) whose last 32 bits are a check tag over the rest. The tag is no secret and no proof: it only
 * keeps apart, up to 1 in 2^32, the keys that a router made, which it may replace, from those that a client chose.
 */
function mintedKey(r0: number, r1: number, r2: number): string {
  const w0 = r0 >>> 0
  const w1 = ((r1 & 0xffff0fff) | 0x8000) >>> 0
  const w2 = ((r2 & 0x3fffffff) | 0x80000000) >>> 0
  const [h1, h2] = [hex(w1), hex(w2)]
  const tag = hex(tagOf(w0, w1, w2))
  return `${hex(w0)}-${h1.slice(0, 4)}-${h1.slice(4)}-${h2.slice(0, 4)}-${h2.slice(4)}${tag}`
}

/** Whether a router made this key. `key` is what keyFromCookie returned. */
export function isMinted(key: string): boolean {
  if (key.length !== 36 || key.charCodeAt(14) !== 0x38) return false
  const w0 = Number.parseInt(key.slice(0, 8), 16)
  const w1 = Number.parseInt(key.slice(9, 13) + key.slice(14, 18), 16)
  const w2 = Number.parseInt(key.slice(19, 23) + key.slice(24, 28), 16)
  return Number.parseInt(key.slice(28), 16) === tagOf(w0, w1, w2)
}

/**
 * Whether a session with this key would live in `slot` and stay there: the last rebalance, whose rule goes on for those
 * who have not asked since, must not move one that began or moved after it.
 */
function settlesIn(key: string, slot: number, slots: readonly number[], rebalance: Rebalance | null): boolean {
  const digest = digestKey(key)
  return pickSlot(digest, slots) === slot && (rebalance === null || !isShed(digest, slot, rebalance))
}

/**
 * A new key whose home is `slot` among `slots`. It is drawn until one settles there: n draws on average, more where the
 * slot sheds, and more than a thousand with a probability of e^(-1000/n), after which any key will do (the session is
 * then moved by its first request, no worse than a session whose slot is down).
 */
export function mintKey(
  random: RandomWord,
  slot: number,
  slots: readonly number[],
  rebalance: Rebalance | null = null,
): string {
  let key = ''
  for (let draw = 0; draw < 1000; draw++) {
    key = mintedKey(random(), random(), random())
    if (settlesIn(key, slot, slots, rebalance)) break
  }
  return key
}

/**
 * The key that replaces a minted one whose session now lives in `target` (R8.1, R8.3). It is derived, not drawn: the
 * first of a fixed sequence that settles in `target` among all `slots` of the table, so that parallel requests, tabs,
 * processes and routers arrive at the same one, and the session does not jump back when its old slot returns.
 */
export function movedKey(
  oldKey: string,
  target: number,
  slots: readonly number[],
  rebalance: Rebalance | null = null,
): string {
  const { a, b } = digestKey(oldKey)
  const seed = mix(a ^ Math.imul(target + 1, 0xc2b2ae3d))
  let key = oldKey
  for (let i = 1; i <= 10_000; i++) {
    const w0 = mix(seed + Math.imul(i, 0x9e3779b1))
    const w1 = mix(b ^ w0)
    const w2 = mix(a + Math.imul(w1, 0x85ebca77))
    key = mintedKey(w0, w1, w2)
    if (settlesIn(key, target, slots, rebalance)) break
  }
  return key
}

// ---- rebalancing ---------------------------------------------------------------------------------------------

/**
 * Ranks that a rebalance tells apart. Routers report how many minted sessions have which, so that a plan knows how many
 * it moves: a part drawn by the hash alone would be that large on average only, and exceed the plan every second time.
 */
export const SHED_RANKS = 32

/** Who goes first when a slot sheds: 0 to SHED_RANKS - 1, the same for a key at all times. */
export const shedRank = (key: KeyDigest): number => mix(key.a ^ 0x6d2b79f5) >>> 27

/**
 * The last rebalance as the route table tells it: each slot gives away those of its sessions whose rank is below
 * fraction × ranks. `slots` are all that there were then.
 */
export type Rebalance = {
  readonly epoch: number
  readonly slots: readonly number[]
  readonly shed: Readonly<Record<string, number>>
}

/**
 * Whether this minted key, at home in `slot`, is among those that the rebalance moves (R8.3). One that lived elsewhere
 * then, and came when its slot left, is not: it was not counted, and would be moved a second time.
 */
export function isShed(key: KeyDigest, slot: number, rebalance: Rebalance): boolean {
  const fraction = rebalance.shed[slot]
  if (fraction === undefined || shedRank(key) >= fraction * SHED_RANKS) return false
  return pickSlot(key, rebalance.slots) === slot
}

/**
 * Where a shed session goes: to one of the slots that shed nothing, by the same arithmetic in every process; -1 if
 * there is none, and the session stays.
 */
export function shedTarget(key: KeyDigest, slots: readonly number[], rebalance: Rebalance): number {
  return pickSlot(key, slots, (slot) => !((rebalance.shed[slot] ?? 0) > 0))
}

// ---- cookies -------------------------------------------------------------------------------------------------

/** The whole Set-Cookie value of R7.4: a session cookie, without Domain, as the `__Host-` prefix demands. */
export const setRouterCookie = (key: string): string =>
  `${ROUTER_COOKIE}=${key}; Path=/; Secure; HttpOnly; SameSite=Lax`

/** The twin for plain http on loopback, where Safari and many http clients refuse Secure cookies (DESIGN D13). */
export const setLoopbackCookie = (name: string, key: string): string => `${name}=${key}; Path=/; HttpOnly; SameSite=Lax`
