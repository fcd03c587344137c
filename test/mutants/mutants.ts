import { stripTypeScriptTypes } from 'node:module'
import { type Node, parse } from 'acorn'

/** One small change of a file of ours, such as somebody could make by mistake. Offsets are those of the file's text. */
export type Mutant = { start: number; end: number; replacement: string; words: string; line: number }

type Tree = Node & { [key: string]: unknown }

const SWAPPED: Record<string, string> = {
  '<': '<=',
  '<=': '<',
  '>': '>=',
  '>=': '>',
  '===': '!==',
  '!==': '===',
  '+': '-',
  '-': '+',
  '*': '/',
  '/': '*',
  '&&': '||',
  '||': '&&',
}
const CALLED: Record<string, string> = { some: 'every', every: 'some', min: 'max', max: 'min' }

/**
 * All mutants of a TypeScript text: operators turned to their neighbours, conditions turned round or decided, numbers
 * moved by one, statements left out. Types are blanked first, which leaves every offset as it was.
 */
export function mutantsOf(text: string): Mutant[] {
  const code = stripTypeScriptTypes(text)
  const found: Mutant[] = []
  const add = (node: Node, replacement: string, words: string) =>
    found.push({
      start: node.start,
      end: node.end,
      replacement,
      words,
      line: code.slice(0, node.start).split('\n').length,
    })
  const source = (node: unknown) => text.slice((node as Node).start, (node as Node).end)
  walk(parse(code, { ecmaVersion: 'latest', sourceType: 'module' }) as unknown as Tree, (node) => {
    switch (node.type) {
      case 'BinaryExpression':
      case 'LogicalExpression': {
        const { left, right, operator } = node as unknown as { left: Node; right: Node; operator: string }
        const swapped = SWAPPED[operator]
        // Of texts that are put together nothing but the text depends.
        const joinsText = operator === '+' && /['"`]/.test(source(node))
        if (swapped === undefined || joinsText) break
        const between = text.slice(left.end, right.start)
        const at = left.end + between.indexOf(operator)
        add({ ...node, start: at, end: at + operator.length }, swapped, `${operator} → ${swapped}`)
        break
      }
      case 'IfStatement':
      case 'ConditionalExpression': {
        const test = node.test as Node
        add(test, `!(${source(test)})`, 'condition turned round')
        if (node.type === 'IfStatement') add(test, 'false', 'condition never true')
        break
      }
      case 'Literal': {
        if (typeof node.value === 'boolean') add(node, String(!node.value), `${node.value} → ${!node.value}`)
        if (typeof node.value === 'number') add(node, String(node.value + 1), `${node.value} → ${node.value + 1}`)
        break
      }
      case 'UnaryExpression':
        if (node.operator === '!') add(node, `(${source(node.argument)})`, '! left out')
        break
      case 'ExpressionStatement':
        if (['CallExpression', 'AwaitExpression', 'AssignmentExpression'].includes((node.expression as Tree).type))
          add(node, '{}', `left out: ${source(node).split('\n')[0]?.slice(0, 60)}`)
        break
      case 'CallExpression': {
        const callee = node.callee as Tree
        const property = callee.property as (Tree & { name?: string }) | undefined
        const other = CALLED[property?.name ?? '']
        if (callee.type === 'MemberExpression' && property !== undefined && other !== undefined)
          add(property, other, `${property.name} → ${other}`)
        break
      }
    }
  })
  return found
}

function walk(node: Tree, visit: (node: Tree) => void): void {
  if (node.type === 'ImportDeclaration') return
  visit(node)
  for (const child of Object.values(node)) {
    for (const one of Array.isArray(child) ? child : [child]) {
      if (typeof one === 'object' && one !== null && typeof (one as Tree).type === 'string') walk(one as Tree, visit)
    }
  }
}

export const applied = (text: string, { start, end, replacement }: Mutant): string =>
  text.slice(0, start) + replacement + text.slice(end)
