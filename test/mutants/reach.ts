/**
 * Which tests with real processes reach a file, which no import tells: the first prefix that fits, its tests in the order
 * in which they are worth their time. What stands last for a folder takes whatever came into it since.
 */
const REACHED_BY: ReadonlyArray<readonly [prefix: string, tests: readonly string[]]> = [
  ['domain/affinity', ['router/affinity', 'router/new-keys']],
  ['domain/', ['router/affinity', 'control/rest', 'sagas/deploy', 'sagas/changes']],

  ['store/routers', ['router/control-plane', 'sagas/changes', 'sagas/faults']],
  ['store/', ['control/rest', 'control/workspace', 'sagas/deploy', 'sagas/changes', 'sagas/faults']],

  ['router/request-head', ['router/parsing', 'router/headers', 'router/affinity', 'router/fuzz']],
  ['router/request-body', ['router/uploads', 'router/parsing']],
  ['router/response-head', ['router/headers', 'router/affinity', 'router/answers', 'router/upgrades']],
  ['router/upstream/', ['router/answers', 'router/verdicts', 'router/uploads', 'router/streaming', 'router/failover']],
  ['router/attempt', ['router/new-keys', 'router/uploads', 'router/answers', 'router/streaming', 'router/failover']],
  ['router/forward', ['router/new-keys', 'router/uploads', 'router/answers', 'router/defects', 'router/failover']],
  ['router/choose', ['router/new-keys', 'router/affinity', 'router/failover', 'router/lifecycle', 'router/busy']],
  ['router/identify', ['router/affinity', 'router/headers', 'router/parsing', 'router/lifecycle']],
  ['router/router-cookie', ['router/affinity', 'router/headers']],
  ['router/client-connection', ['router/pipelining', 'router/half-closed', 'router/parsing', 'router/uploads']],
  ['router/pipeline', ['router/defects', 'router/pipelining']],
  ['router/listener', ['router/parsing', 'router/uploads', 'router/descriptors', 'router/lifecycle']],
  ['router/tunnel', ['router/websocket', 'router/upgrades']],
  ['router/websocket-frames', ['router/websocket']],
  ['router/watched', ['router/failover', 'router/busy']],
  ['router/checks', ['router/failover', 'router/busy']],
  ['router/question', ['router/failover', 'router/busy']],
  ['router/waiting-room', ['router/lifecycle', 'router/failover']],
  ['router/control-link', ['router/control-plane']],
  ['router/table-file', ['router/control-plane', 'router/lifecycle']],
  ['router/fleet', ['router/lifecycle', 'router/control-plane']],
  ['router/', ['router/lifecycle', 'router/affinity', 'router/control-plane', 'router/parsing', 'router/websocket']],

  ['workflows/', ['histories/replay', 'sagas/injected-failures', 'sagas/deploy', 'sagas/changes', 'sagas/faults']],

  ['runtime/builders/node', ['builders/node']],
  ['runtime/builders/package-json', ['builders/node']],
  ['runtime/builders/', ['builders/python', 'builders/node']],
  ['runtime/health', ['conformance/health', 'conformance/instances']],
  ['runtime/probe', ['conformance/health']],
  ['runtime/checks', ['conformance/instances']],
  ['runtime/providers/', ['conformance/provider-process', 'conformance/instances']],
  ['runtime/instance', ['conformance/instances', 'sagas/faults']],
  ['runtime/', ['conformance/provider-process', 'conformance/instances', 'sagas/deploy']],
]

export function reachedBy(file: string): string[] {
  const [, tests] = REACHED_BY.find(([prefix]) => file.startsWith(prefix)) ?? []
  return (tests ?? []).map((test) => `test/${test}.test.ts`)
}
