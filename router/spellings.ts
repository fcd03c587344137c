/** Longer names are rare, and would fill the memory of the process for its life. */
const MAX_LENGTH = 64
const MAX_SPELLINGS = 1024

/**
 * What a header is, by its name as people write it: each spelling is classified once and remembered, which saves
 * lower-casing 15 names for every request. Bounded in number and length, and begun anew when it is full: names come from
 * whoever likes.
 */
export class Spellings<T> {
  private readonly classify: (name: string) => T
  private readonly known = new Map<string, T>()

  constructor(classify: (name: string) => T) {
    this.classify = classify
  }

  of(name: string): T {
    const known = this.known.get(name)
    if (known !== undefined) return known
    const found = this.classify(name)
    if (name.length > MAX_LENGTH) return found
    if (this.known.size >= MAX_SPELLINGS) this.known.clear()
    this.known.set(name, found)
    return found
  }

  get size(): number {
    return this.known.size
  }
}
