/**
 * Loopback never goes through a proxy (D15), whatever the variables say. Without brackets around the IPv6 address: apps
 * inherit these variables, and Python's httpx (Gradio, many clients of APIs) refuses to start with them.
 */
const LOOPBACK = ['localhost', '127.0.0.1', '::1', '.localhost']

export type ProxySettings = { httpProxy?: string; httpsProxy?: string; noProxy: string }

/** From the usual variables, else from npm's settings, which npm hands to its scripts. */
export function proxySettings(env: NodeJS.ProcessEnv): ProxySettings {
  const httpProxy = env.http_proxy ?? env.HTTP_PROXY ?? env.npm_config_proxy
  const httpsProxy = env.https_proxy ?? env.HTTPS_PROXY ?? env.npm_config_https_proxy ?? httpProxy
  return {
    ...(httpProxy && { httpProxy }),
    ...(httpsProxy && { httpsProxy }),
    noProxy: noProxy(env),
  }
}

/**
 * The two spellings of `no_proxy` for processes of ours: gRPC reads these variables for its connection to Temporal too,
 * and would ask the proxy for 127.0.0.1.
 */
export function withoutProxyForLoopback(env: NodeJS.ProcessEnv): { no_proxy: string; NO_PROXY: string } {
  const value = noProxy(env)
  return { no_proxy: value, NO_PROXY: value }
}

function noProxy(env: NodeJS.ProcessEnv): string {
  const given = (env.no_proxy ?? env.NO_PROXY ?? env.npm_config_noproxy ?? '')
    .split(/[\s,]+/)
    .filter((name) => name !== '')
  return [...new Set([...given, ...LOOPBACK])].join(',')
}
