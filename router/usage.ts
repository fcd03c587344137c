/** What `node router/main.ts --help` prints: every option with its unit and its default, from the options themselves. */
import {
  type CheckOptions,
  DEFAULT_CHECKS,
  DEFAULT_LIMITS,
  DEFAULT_TIMEOUTS,
  type FLAGS,
  type Limits,
  type Timeouts,
} from './options.ts'

/** A flag that is not described here does not pass the type checker. */
const FLAG_WORDS: Record<keyof typeof FLAGS, [value: string, words: string, fallback: string]> = {
  listen: ['HOST:PORT', 'where traffic arrives; fd:N is a socket that the supervisor opened', '127.0.0.1:8080'],
  'control-plane': ['URL', 'where the route tables come from; this or --routes', 'none'],
  'token-file': ['FILE', 'bearer token of the control plane; needed with --control-plane', 'none'],
  routes: ['FILE', 'a route table in a file, watched, for a router that stands alone', 'none'],
  'state-dir': ['FOLDER', 'where the last table is kept, so that a restart needs no control plane', 'none'],
  name: ['NAME', 'stable, and another one for each router of a control plane', 'router-<hostname>'],
  hosts: ['LIST', 'more names that lead to ports of apps; addresses and their own always do', '<hostname>'],
  admin: ['HOST:PORT', 'metrics and state, behind a token; keep it on loopback', 'none'],
  'admin-token-file': ['FILE', 'bearer token of the admin listener', 'made in --state-dir'],
  processes: ['1…64', 'processes that carry traffic; not more than there are cores', '2, or 1 on one core'],
  'served-by': ['', 'say in each answer which instance gave it; tells clients about the inside', 'off'],
  'trusted-proxies': ['LIST', 'peers whose X-Forwarded-* are believed: addresses, CIDR ranges, with commas', 'none'],
  'tls-cert': ['FILE', 'PEM, read again when it changes; with --tls-key', 'none'],
  'tls-key': ['FILE', 'PEM; with --tls-cert', 'none'],
  'tls-self-signed': ['NAMES', 'make a certificate for these names, with commas; needs --state-dir', 'none'],
  'expose-unconfined-apps': ['', 'allow --listen beyond loopback: whoever reaches it reaches every app', 'off'],
  'access-log': ['0…1', 'fraction of requests that leave a line on stdout; on and off are 1 and 0', '0'],
  limit: ['NAME=VALUE', 'one of the limits below; may be repeated', ''],
  timeout: ['NAME=MS', 'one of the timeouts below; may be repeated', ''],
  check: ['NAME=MS', 'one of the checks below; may be repeated', ''],
}

const LIMIT_WORDS: Record<keyof Limits, string> = {
  maxUriBytes: 'bytes of a request target; beyond it 414',
  maxHeaderBytes: 'bytes of all header names and values; beyond it 431',
  maxHeaders: 'number of headers; beyond it 431',
  maxBodyBytes: 'bytes of a request body, 0 for no limit; beyond it 413',
  maxConnections: 'client connections of one process, on all its ports; further ones are closed',
  maxWaiting: 'requests of one process that wait for an instance, half as many of an app; others get 503',
}

const TIMEOUT_WORDS: Record<keyof Timeouts, string> = {
  requestHeadMs: 'for the whole head of a request',
  requestBodyIdleMs: 'between two pieces of a request body',
  writeStallMs: 'a client that takes nothing of what waits for it for so long is cut off',
  clientProbeMs: 'a client silent for so long (from 1000) is probed by TCP, and cut off if it has vanished',
  clientHalfClosedMs: 'a client that has closed its side and is sent nothing for so long is cut off',
  clientKeepAliveMs: 'an idle connection of a client',
  tlsHandshakeMs: 'for the TLS handshake',
  connectMs: 'one try to connect to an instance',
  firstByteMs: 'from the request to the head of the answer; then 504',
  noInstanceWaitMs: 'a request waits for an instance when there is none; then 503',
  holdWaitMs: 'a request waits while the traffic of its app is held; then 503',
  stopGraceMs: 'for requests in flight when the router stops',
  drainSpreadMs: 'over which long-lived connections of a draining instance are closed',
  workerSilenceMs: 'a process that has not been heard of for so long is replaced',
}

const CHECK_WORDS: Record<keyof CheckOptions, string> = {
  idleMs: 'an instance that has sent nothing for so long, and was asked for nothing, is asked',
  quietMs: 'a request that waits for so long without a byte from its instance is a reason to ask that',
  waitMs: 'a question that waits for longer keeps new sessions away',
  confirmMs: 'before a bad answer is looked at again; two in a row eject',
}

export function usage(): string {
  return [
    'node router/main.ts --control-plane URL --token-file FILE [flags]',
    'node router/main.ts --routes FILE [flags]',
    '',
    'Each flag can be a variable: --token-file is COPPICE_ROUTER_TOKEN_FILE. A flag wins; --limit, --timeout and --check',
    'take a list with commas there. SIGHUP replaces the processes, SIGTERM stops after the requests in flight.',
    '',
    'flag (default)',
    ...columns(
      Object.entries(FLAG_WORDS).map(([flag, [value, words, fallback]]) => [
        `--${flag} ${value}`.trimEnd(),
        fallback === '' ? words : `${words} (${fallback})`,
      ]),
    ),
    '  --help                       show this',
    '',
    ...fields('--limit', DEFAULT_LIMITS, LIMIT_WORDS),
    '',
    ...fields('--timeout, in ms, 0 for none', DEFAULT_TIMEOUTS, TIMEOUT_WORDS),
    '',
    ...fields('--check, in ms', DEFAULT_CHECKS, CHECK_WORDS),
  ].join('\n')
}

const fields = <T extends Record<string, number>>(
  title: string,
  defaults: T,
  words: Record<keyof T & string, string>,
): string[] => [
  title,
  ...columns(Object.entries(defaults).map(([name, value]) => [`${name}=${value}`, words[name as keyof T & string]])),
]

const columns = (rows: Array<[string, string]>): string[] =>
  rows.map(([name, words]) => `  ${name.padEnd(28)} ${words}`)
