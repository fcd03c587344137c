/** Browsers with a cookie jar and clients with a key of their own, who ask all the time and remember where they were. */
import { randomUUID } from 'node:crypto'
import { digestKey, pickSlot } from '../../domain/affinity.ts'
import { ROUTER_COOKIE } from '../../domain/product.ts'
import { type Answer, ask, Load } from '../helpers/load.ts'

/** A browser keeps what it is given; a client chooses its key and keeps that. */
export type Kind = 'browser' | 'client'

export class Visitor {
  readonly name: string = randomUUID()
  readonly kind: Kind
  /** A browser's cookies by name; what a client was given, which should be nothing. */
  readonly jar = new Map<string, string>()
  /** All keys that it was given, the first one included. */
  readonly keys = new Set<string>()
  readonly visits: Array<{ slot: number; from: number; to: number }> = []

  constructor(kind: Kind) {
    this.kind = kind
  }

  heard({ body, cookies, startedAt, endedAt }: Pick<Answer, 'body' | 'cookies' | 'startedAt' | 'endedAt'>): void {
    this.visits.push({ slot: body.slot as number, from: startedAt, to: endedAt })
    for (const cookie of cookies) {
      const [name = '', value = ''] = (cookie.split(';')[0] as string).split('=')
      this.jar.set(name, value)
      if (name === ROUTER_COOKIE) this.keys.add(value)
    }
  }

  /** How a request of it says who it is. */
  get identity(): { headers: Record<string, string>; sendKey: boolean } {
    if (this.kind === 'client') return { headers: {}, sendKey: true }
    return { headers: { cookie: [...this.jar].map((pair) => pair.join('=')).join('; ') }, sendKey: false }
  }

  /** The slots that it was in, one after the other; requests that overlap are in no order. */
  get journey(): number[] {
    const inOrder = this.visits.toSorted((a, b) => a.from - b.from)
    const slots: number[] = []
    for (const [i, { slot, from }] of inOrder.entries()) {
      const later = inOrder.slice(0, i).filter(({ to }) => to < from)
      const last = later.toSorted((a, b) => a.to - b.to).at(-1)
      if (last === undefined ? slots.length === 0 : last.slot !== slot && slots.at(-1) !== slot) slots.push(slot)
    }
    return slots
  }

  get slot(): number {
    return this.visits.toSorted((a, b) => a.from - b.from).at(-1)?.slot as number
  }
}

/**
 * Makes as many visitors as `wanted` says for each slot. A browser whom the router puts elsewhere never comes back, so
 * that it is no session; a key with another home is never used.
 */
export async function gather(url: string, app: string, kind: Kind, wanted: readonly number[]): Promise<Visitor[]> {
  const found: Visitor[] = []
  const missing = [...wanted]
  for (let i = 0; missing.some((n) => n > 0); i++) {
    if (i > 5_000) throw new Error(`slots still without their visitors: ${missing.join()}`)
    const visitor = new Visitor(kind)
    if (kind === 'client' && !missing[pickSlot(digestKey(visitor.name), [...wanted.keys()])]) continue
    const startedAt = Date.now()
    const answer = await ask(url, { host: `${app}.localhost`, key: kind === 'client' ? visitor.name : null })
    visitor.heard({ ...answer, startedAt, endedAt: Date.now() })
    if ((missing[visitor.slot] ?? 0) === 0) continue
    missing[visitor.slot] = (missing[visitor.slot] as number) - 1
    found.push(visitor)
  }
  return found
}

/** 200 requests a second from all of them in turn, slow handlers mixed in. */
export function traffic(url: string, app: string, visitors: readonly Visitor[]): Load {
  const byName = new Map(visitors.map((visitor) => [visitor.name, visitor]))
  let next = 0
  return new Load({
    url,
    app,
    rate: 200,
    slowMs: () => (Math.random() < 0.2 ? 200 + Math.random() * 200 : 0),
    method: () => (Math.random() < 0.7 ? 'GET' : 'POST'),
    key: () => (visitors[next++ % visitors.length] as Visitor).name,
    headers: (name) => (byName.get(name as string) as Visitor).identity,
    onAnswer: (name, answer) => byName.get(name as string)?.heard(answer),
  })
}
