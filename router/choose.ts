import type { RequestHandler } from 'express'
import { isShed, movedKey, pickSlot, shedTarget } from '../domain/affinity.ts'
import type { Endpoint } from './endpoint.ts'
import type { Exchange } from './exchange.ts'
import type { Timeouts } from './options.ts'
import { REFUSALS } from './refusal.ts'
import type { AppRoutes, Routes } from './routes.ts'
import type { WaitingRoom } from './waiting-room.ts'

export type Chooser = {
  /** Third in the chain: which endpoint gets the request. */
  middleware: RequestHandler
  /**
   * Chooses again, leaving out what was tried; waits if there is nothing left. Calls back when `endpoint` or `refusal` is
   * set; never for a client that has gone.
   */
  again(exchange: Exchange, done: () => void): void
  /** Whether it may leave this endpoint, which has nothing of it yet: it lives nowhere, and there is another that was not tried. */
  mayLeave(exchange: Exchange, endpoint: Endpoint): boolean
}

export function chooser(parts: {
  routes: Routes
  room: WaitingRoom
  timeouts: Timeouts
  /** A number from 0 to below 1. */
  random: () => number
}): Chooser {
  const { routes, room, timeouts, random } = parts

  const again = (exchange: Exchange, done: () => void): void => {
    if (exchange.clientGone) return
    // The table may have changed while the request waited.
    const app = refreshed(exchange, routes)
    exchange.app = app
    if (app === null) {
      exchange.refusal = REFUSALS.noSuchApp
      done()
      return
    }
    if (!app.held) {
      exchange.endpoint = app.row.affinity ? bySession(app, exchange, random) : byLoad(app, exchange)
      if (exchange.endpoint !== null) {
        done()
        return
      }
    }
    const now = performance.now()
    if (exchange.waitUntil === 0) {
      exchange.waitUntil = now + (app.row.held ? timeouts.holdWaitMs : timeouts.noInstanceWaitMs)
    }
    const cutOver = app.cutOverUntil !== 0
    const waited = now >= (cutOver ? app.cutOverUntil : exchange.waitUntil)
    if (waited || !room.enter(exchange, () => again(exchange, done), cutOver)) {
      exchange.refusal = !waited
        ? REFUSALS.tooManyWaiting
        : app.held
          ? REFUSALS.held
          : app.row.status === 'starting'
            ? REFUSALS.starting
            : REFUSALS.noInstance
      done()
      return
    }
    // Everything was tried once; when the wait is over each may be tried again.
    exchange.tried = null
  }

  const mayLeave = (exchange: Exchange, endpoint: Endpoint): boolean => {
    if (endpoint.state !== 'serving') return true
    const app = refreshed(exchange, routes)
    if (app === null || (app.row.affinity && exchange.digest !== null)) return false
    return app.bySlot.some((one) => one !== endpoint && isOpen(one, exchange))
  }

  return {
    again,
    mayLeave,
    middleware: (req, res, next) => {
      const exchange = req.exchange
      if (exchange.refusal !== null) {
        next()
        return
      }
      again(exchange, next)
      if (exchange.inHand) return
      // It waits, and its client may go away meanwhile. Not before: a listener for each request costs all of them.
      res.once('close', () => {
        if (exchange.inHand) return
        exchange.clientGone = true
        room.leave(exchange)
        next()
      })
    },
  }
}

function refreshed(exchange: Exchange, routes: Routes): AppRoutes | null {
  const app = exchange.app as AppRoutes
  return exchange.waitUntil === 0 && exchange.attempts === 0 ? app : (routes.forName(app.name) ?? null)
}

/** A standard app: the endpoint with the fewest requests, of those that answer; the busy ones last. */
function byLoad(app: AppRoutes, exchange: Exchange): Endpoint | null {
  let best: Endpoint | null = null
  for (const slot of app.slots) {
    const endpoint = app.bySlot[slot]
    if (!isOpen(endpoint, exchange)) continue
    const better = best === null || (endpoint.busy === best.busy ? endpoint.inFlight < best.inFlight : best.busy)
    if (better) best = endpoint
  }
  return best
}

/** A scaled app: where the session lives (D8), or anywhere for a new one (R7.1). */
function bySession(app: AppRoutes, exchange: Exchange, random: () => number): Endpoint | null {
  const { digest, key } = exchange
  exchange.newHome = null
  if (digest === null || key === null) return anywhere(app, exchange, random)
  const home = pickSlot(digest, app.slots)
  if (home === -1) return null
  let target = home
  if (!app.allUp && !app.isUsable(home)) {
    target = pickSlot(digest, app.slots, app.isUsable)
    if (target === -1) return null
    if (exchange.minted) {
      exchange.newHome = { slot: target, key: movedKey(key, target, app.slots, app.row.rebalance), cause: 'moved' }
    }
  } else if (app.row.rebalance !== null && exchange.minted && isShed(digest, home, app.row.rebalance)) {
    const shed = shedTarget(digest, app.slots, app.row.rebalance)
    if (shed !== -1 && app.isUsable(shed) && app.bySlot[shed]?.busy === false) {
      target = shed
      exchange.newHome = {
        slot: shed,
        key: movedKey(key, shed, app.slots, app.row.rebalance),
        cause: 'rebalanced',
      }
    }
  }
  const chosen = app.bySlot[target] as Endpoint
  if (exchange.tried === null && chosen.suspectUntil === 0) return chosen
  return firstUntried(app, exchange, target)
}

/** The target unless it was tried or just failed someone; then the next in rendezvous order, suspects last, and behind them the busy. */
function firstUntried(app: AppRoutes, exchange: Exchange, target: number): Endpoint | null {
  const now = performance.now()
  const digest = exchange.digest as NonNullable<Exchange['digest']>
  const open = (slot: number) => isOpen(app.bySlot[slot], exchange)
  const chosen = app.bySlot[target] as Endpoint
  if (open(target) && chosen.suspectUntil <= now) {
    chosen.suspectUntil = 0
    return chosen
  }
  let slot = pickSlot(digest, app.slots, (one) => open(one) && isCalm(app.bySlot[one] as Endpoint, now))
  if (slot === -1 && open(target)) slot = target
  // One that failed somebody a moment ago answers sooner than one that lets everybody wait, for ever perhaps.
  if (slot === -1) slot = pickSlot(digest, app.slots, (one) => open(one) && app.bySlot[one]?.busy === false)
  if (slot === -1) slot = pickSlot(digest, app.slots, open)
  return slot === -1 ? null : (app.bySlot[slot] as Endpoint)
}

function anywhere(app: AppRoutes, exchange: Exchange, random: () => number): Endpoint | null {
  const now = performance.now()
  const open: Endpoint[] = []
  let calm = 0
  for (const slot of app.slots) {
    const endpoint = app.bySlot[slot]
    if (!isOpen(endpoint, exchange)) continue
    // Calm ones to the front.
    if (isCalm(endpoint, now)) open.splice(calm++, 0, endpoint)
    else open.push(endpoint)
  }
  if (calm === 0) return lessSilent(open, random)
  return open[Math.floor(random() * calm)] as Endpoint
}

/**
 * Any of those that failed somebody a moment ago; where all let others wait, of the half that was heard of last: one that
 * is stuck is told from those that compute only by how long it has been silent.
 */
function lessSilent(open: Endpoint[], random: () => number): Endpoint | null {
  const awake = open.filter(({ busy }) => !busy)
  const choices =
    awake.length > 0 ? awake : open.sort((a, b) => b.busyRank - a.busyRank).slice(0, Math.ceil(open.length / 2))
  return choices[Math.floor(random() * choices.length)] ?? null
}

/** It serves, and has not failed this request yet. */
function isOpen(endpoint: Endpoint | undefined, exchange: Exchange): endpoint is Endpoint {
  return endpoint !== undefined && !endpoint.ejected && !exchange.tried?.includes(endpoint)
}

/** It failed nobody a moment ago, and lets nobody wait: where whoever may choose goes. */
function isCalm(endpoint: Endpoint, now: number): boolean {
  return endpoint.suspectUntil <= now && !endpoint.busy
}
