// Loaded into the processes of a stack (NODE_OPTIONS=--import): SIGUSR2 collects what is garbage in all their threads, so
// that a look at memory from outside sees what is held and not what nobody has had a reason to collect yet. Workflows
// run in a thread of the worker that has a heap of its own; signals reach the main thread only.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { isMainThread } from 'node:worker_threads'

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc')
// The way V8 collects before it gives up: free pages go back to the system, too.
const collect = () => gc({ type: 'major', execution: 'sync', flavor: 'last-resort' })
const threads = new BroadcastChannel('collect')
if (isMainThread) {
  process.on('SIGUSR2', () => {
    threads.postMessage('now')
    collect()
  })
} else {
  threads.onmessage = () => collect()
}
threads.unref()
