import { CoppiceError } from '../domain/errors.ts'
import { findTool, type ToolName } from './toolchain/resolve.ts'

/** `node scripts/find-tools.ts uv …`: for `coppice doctor`, as JSON, where outside tools are; fetches nothing. */
const found = process.argv.slice(2).map(async (tool) => {
  try {
    return { tool, ...((await findTool(tool as ToolName)) ?? { missing: true }) }
  } catch (error) {
    if (error instanceof CoppiceError) return { tool, trouble: error.message }
    throw error
  }
})
process.stdout.write(`${JSON.stringify(await Promise.all(found))}\n`)
