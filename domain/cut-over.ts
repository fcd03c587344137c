import type { RouteTable } from './route-table.ts'

/**
 * Apps that are served by others from one table to the next, by fewer or by more: whoever was answered by the new table
 * must not be answered by the old one afterwards. The old one may have another version (R3.4, R5.1), and takes clients
 * that brought their key back to where they have just left (R8.2).
 *
 * @returns names, in the order of the table before
 */
export function cutOvers(before: RouteTable, after: RouteTable): string[] {
  const now = serving(after)
  return [...serving(before)].flatMap(([app, was]) => {
    const is = now.get(app) ?? []
    const isSame = was.length === is.length && was.every((instance) => is.includes(instance))
    return isSame ? [] : [app]
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
