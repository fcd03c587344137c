/**
 * What a person or a terminal does to end a program early: Ctrl-C, `kill`, a window that is closed. Each time, not once: the
 * second Ctrl-C of somebody in a hurry would leave behind what is just being stopped, and npm passes on what the terminal
 * has sent already.
 */
export function onInterruption(stop: () => void): void {
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, stop)
  // A terminal that is closed takes nothing any more (EIO), and that must not end who tidies up.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {})
}
