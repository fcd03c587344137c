/**
 * Followers of an event stream in a process of their own, so that their work is not in the way of what the test
 * measures. Half of them never read. Tells its parent when all are connected, and when the others have read up to the
 * event `last`, each in order and without a gap.
 */
import { connect } from 'node:net'

export type FollowersTask = { port: number; token: string; readers: number; mutes: number; path: string; last: number }
export type FollowersNews = { type: 'connected' } | { type: 'done' } | { type: 'failed'; why: string }

const tell = (news: FollowersNews) => process.send?.(news)

process.once('message', async (task: FollowersTask) => {
  const head = `GET ${task.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ${task.token}\r\n\r\n`
  let connected = 0
  let done = 0
  const open = (reads: boolean) => {
    const socket = connect(task.port, '127.0.0.1', () => {
      socket.write(head)
      if (++connected === task.readers + task.mutes) tell({ type: 'connected' })
    })
    socket.on('error', () => undefined)
    // Not even into Node's own buffer.
    if (!reads) return void socket.pause()
    let seen = 0
    let rest = ''
    socket.on('data', (chunk) => {
      const lines = (rest + chunk.toString('latin1')).split('\n')
      rest = lines.pop() as string
      for (const line of lines) {
        if (!line.startsWith('id: ')) continue
        const id = Number(line.slice(4))
        if (id !== seen + 1) tell({ type: 'failed', why: `event ${id} came after ${seen}` })
        seen = id
        if (id === task.last && ++done === task.readers) tell({ type: 'done' })
      }
    })
    socket.on('close', () => {
      if (seen < task.last) tell({ type: 'failed', why: `the stream ended after event ${seen}` })
    })
  }
  for (let n = 0; n < task.readers; n++) open(true)
  for (let n = 0; n < task.mutes; n++) open(false)
})
process.on('disconnect', () => process.exit(0))
