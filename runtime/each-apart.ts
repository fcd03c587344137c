/**
 * Does it for each, one after the other, whatever becomes of the others: a chore that stops at its first failure stops
 * there every time. Throws the first failure when all had their turn.
 */
export async function eachApart<T>(items: Iterable<T>, work: (item: T) => Promise<unknown>): Promise<void> {
  const failures: unknown[] = []
  for (const item of items) await work(item).catch((error: unknown) => failures.push(error))
  if (failures.length > 0) throw failures[0]
}
