/**
 * A break: a small change that breaks one promise (DESIGN D20). `npm run test:breaks` makes it in a copy of the work
 * tree and runs the tests that are named after the promise; they must turn red. A test that stays green proves nothing.
 *
 * Every `test/breaks/<name>.ts` exports one as `broken`.
 */
export type Break = {
  /** Of SPEC.md, e.g. `R7.2`. */
  rule: string
  /** What is broken, in words: “the router ignores the cookie”. */
  words: string
  edits: Edit[]
  tests: {
    /** Files or folders, as vitest takes them. */
    files: string[]
    /** Regular expression on the names of tests; default: the rule. */
    name?: string
  }
  /** What a red test has to say, e.g. the metric that names the fault; default: anything. */
  says?: string
}

export type Edit = {
  /** From the root of the project. */
  file: string
  /** Must be in the file exactly once; else the break has to follow the code. */
  find: string
  replace: string
}

/** @throws Error that says which break no longer fits the code */
export function applyEdit(name: string, edit: Edit, text: string): string {
  const found = text.split(edit.find).length - 1
  if (found === 1) return text.replace(edit.find, () => edit.replace)
  const what = found === 0 ? 'is not in' : `is ${found} times in`
  throw new Error(`break ${name}: its text ${what} ${edit.file}, and must be there once:\n${edit.find}`)
}
