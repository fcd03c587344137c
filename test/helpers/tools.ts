import { resolveTool } from '../../scripts/toolchain/resolve.ts'

/** Fetches what the integration tests need before the first of them, so that no test's deadline pays for it. */
export async function setup(): Promise<void> {
  const onProgress = (words: string) => process.stderr.write(`${words}\n`)
  await resolveTool('temporal', { onProgress })
  await resolveTool('uv', { onProgress })
}
