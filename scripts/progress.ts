import pc from 'picocolors'

/** Shows what is being done: one line with a spinner on a terminal, plain lines elsewhere. */
export type Progress = {
  /** Begins the next thing, what was before it is done; the same words again tell how far it is. */
  step(words: string, detail?: string): void
  /** The last thing is done. */
  end(): void
  /** The last thing went wrong. */
  fail(): void
  /** A line beside the progress. */
  note(words: string): void
}

const FRAMES = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏']
const FRAME_MS = 100
/** Nobody wants a log of percentages. */
const PLAIN_DETAIL_MS = 15_000

export function startProgress(out: NodeJS.WriteStream = process.stderr): Progress {
  return out.isTTY ? spinner(out) : plain(out)
}

function plain(out: NodeJS.WriteStream): Progress {
  let current = ''
  let told = 0
  return {
    step: (words, detail) => {
      if (words === current && Date.now() - told < PLAIN_DETAIL_MS) return
      out.write(words === current ? `    ${detail}\n` : `- ${words}\n`)
      current = words
      told = Date.now()
    },
    end: () => {},
    fail: () => {},
    note: (words) => out.write(`${words}\n`),
  }
}

function spinner(out: NodeJS.WriteStream): Progress {
  let current: { words: string; detail: string; since: number; timer: NodeJS.Timeout } | null = null
  const seconds = () => pc.dim(`${((Date.now() - (current?.since ?? 0)) / 1000).toFixed(1)} s`)
  const line = (sign: string) => {
    // Cut to the width: a line that wraps cannot be cleared.
    const { words = '', detail = '' } = current ?? {}
    const text = `${words}${detail && `, ${detail}`}`.slice(0, Math.max(20, (out.columns || 80) - 12))
    return `\r\x1b[K${sign} ${text} ${seconds()}`
  }
  const finish = (sign: string) => {
    if (current === null) return
    clearInterval(current.timer)
    current.detail = ''
    out.write(`${line(sign)}\n`)
    current = null
  }
  return {
    step: (words, detail = '') => {
      if (current?.words === words) {
        current.detail = detail
        return
      }
      finish(pc.green('✓'))
      let frame = 0
      const draw = () => out.write(line(pc.cyan(FRAMES[frame++ % FRAMES.length] as string)))
      current = { words, detail, since: Date.now(), timer: setInterval(draw, FRAME_MS).unref() }
      draw()
    },
    end: () => finish(pc.green('✓')),
    fail: () => finish(pc.red('✗')),
    note: (words) => {
      if (current !== null) out.write('\r\x1b[K')
      out.write(`${words}\n`)
    },
  }
}
