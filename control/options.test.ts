import { describe, expect, it } from 'vitest'
import { resolveOptions } from './options.ts'

describe('the options of the control plane', () => {
  it('R13.5 listen on loopback unless told otherwise', () => {
    expect(resolveOptions([], {}).listen).toEqual({ host: '127.0.0.1', port: 7400 })
    expect(resolveOptions([], { COPPICE_API_LISTEN: '[::]:80' }).listen).toEqual({ host: '::', port: 80 })
  })

  it('take a flag before a variable before a default', () => {
    const env = { COPPICE_HOME: '/tmp/a', COPPICE_APP_PORTS: '9000-9001', COPPICE_TEMPORAL_ADDRESS: '' }
    const options = resolveOptions(['--home', '/tmp/b'], env)
    expect(options.store).toMatchObject({ home: '/tmp/b', appPorts: { first: 9000, last: 9001 } })
    expect(options.tokenFile).toBe('/tmp/b/token')
    expect(options.temporal.address).toBe('127.0.0.1:7233')
  })

  it.each([
    [['--api-listen', '7400'], /--api-listen \(COPPICE_API_LISTEN\): "7400" is not host:port/],
    [['--api-listen', '127.0.0.1:70000'], /is not host:port/],
    [['--app-ports', '9-1'], /COPPICE_APP_PORTS/],
    [['--drain-timeout-ms', '-1'], /COPPICE_DRAIN_TIMEOUT_MS|--drain-timeout-ms/],
    [['--url-template', 'http://localhost'], /\{app\}/],
    [['--nonsense'], /nonsense/],
  ])('refuse %j with what is wrong', (argv, message) => {
    expect(() => resolveOptions(argv, {})).toThrow(message)
  })
})
