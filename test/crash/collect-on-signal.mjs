// Loaded into the processes of a stack (NODE_OPTIONS=--import): SIGUSR2 collects what is garbage, so that a look at
// memory from outside sees what is held and not what nobody has had a reason to collect yet.
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { isMainThread } from 'node:worker_threads'

if (isMainThread) {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc')
  process.on('SIGUSR2', () => collect())
}
