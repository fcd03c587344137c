/** `coppice apps logs` */
import type { Context } from './context.ts'
import type { Output } from './output.ts'

export async function showLogs(
  { api, output }: Context,
  name: string,
  flags: { instance?: string; lines: number; follow?: boolean },
): Promise<void> {
  const query = new URLSearchParams({ lines: String(flags.lines), ...(flags.instance && { instance: flags.instance }) })
  const path = `/api/coppice/v1/apps/${encodeURIComponent(name)}/logs?${query}`
  if (flags.follow) {
    const stop = new AbortController()
    process.once('SIGINT', () => stop.abort())
    for await (const { data } of api.events(`${path}&follow=true`, { signal: stop.signal })) {
      const { instance, line } = data as { instance: string; line: string }
      output.line(
        output.json ? JSON.stringify(data) : logLine(output, flags.instance === undefined ? instance : null, line),
      )
    }
    return
  }
  const answer = await api.call<{ instances: Array<{ instance: string; lines: string[] }> }>('GET', path)
  const several = answer.instances.length > 1
  const lines = answer.instances.flatMap((one) =>
    one.lines.map((line) => logLine(output, several ? one.instance : null, line)),
  )
  output.result(answer.instances, lines)
  if (lines.length === 0) output.note(`No instance of ${name} has written anything yet.`)
}

const logLine = (output: Output, instance: string | null, line: string): string =>
  instance === null ? line : `${output.colors.cyan(instance)} ${line}`
