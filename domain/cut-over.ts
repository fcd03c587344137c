import type { RouteTable } from './route-table.ts'

/**
 * Apps that are served by others from one table to the next, or by nobody any more, or for the first time: whoever was
 * answered by the new table must not be answered by the old one afterwards (R3.4, R5.1). An app that only grows or
 * shrinks is not among them.
 *
 * @returns names, in the order of the table before
 */
export function cutOvers(before: RouteTable, after: RouteTable): string[] {
  const now = serving(after)
  return [...serving(before)].flatMap(([app, was]) => {
    const is = now.get(app) ?? []
    const staying = was.filter((instance) => is.includes(instance)).length
    const replaced = staying < was.length && staying < is.length
    const all = staying === 0 && was.length + is.length > 0
    return replaced || all ? [app] : []
  })
}

function serving(table: RouteTable): Map<string, string[]> {
  return new Map(
    table.apps.map(({ app, endpoints }) => [
      app,
      endpoints.filter(({ state }) => state === 'serving').map(({ instance }) => instance),
    ]),
  )
}
