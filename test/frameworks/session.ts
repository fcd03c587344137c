import { StreamlitPage } from '../examples/streamlit-page.ts'

/** One user of an app, who comes back with the cookies that the app's router gave. */
export type Session = {
  /** Which instance answers now, and whether the router gave the session another key with that. */
  ask(): Promise<{ instance: string; moved: boolean }>
  /** Has the app be busy (test/frameworks/apps/busy.py), and tells which instance was, when it is done. */
  work(how: string, run: string): Promise<string>
  close(): void
}

/** @param url of the app, without a slash at its end */
export type OpenSession = (url: string) => Promise<Session>

/** Cookies by name, as a browser keeps them. */
class Jar {
  readonly #cookies = new Map<string, string>()

  async fetch(url: string, init: RequestInit = {}): Promise<{ answer: Response; moved: boolean }> {
    const cookie = [...this.#cookies].map((pair) => pair.join('=')).join('; ')
    const known = this.#cookies.size > 0
    const answer = await fetch(url, { ...init, headers: { ...init.headers, ...(known && { cookie }) } })
    const set = answer.headers
      .getSetCookie()
      .map((line) => (line.split(';')[0] as string).split('=') as [string, string])
    const moved = set.some(([name, value]) => known && this.#cookies.get(name) !== value)
    for (const [name, value] of set) this.#cookies.set(name, value)
    return { answer, moved }
  }
}

async function good(answer: Response): Promise<Response> {
  if (!answer.ok) throw new Error(`${answer.url} answered ${answer.status}: ${await answer.text()}`)
  return answer
}

// biome-ignore lint/suspicious/noExplicitAny: tests look into answers of many shapes, and fail where they differ
const read = async (answer: Response): Promise<any> => (await good(answer)).json()

const json = (body: unknown): RequestInit => ({
  method: 'POST',
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(body),
})

export const fastapiSession: OpenSession = async (url) => {
  const jar = new Jar()
  await good((await jar.fetch(`${url}/`)).answer)
  return {
    ask: async () => {
      const { answer, moved } = await jar.fetch(`${url}/`)
      return { instance: (await read(answer)).instance, moved }
    },
    work: async (how, run) => (await read((await jar.fetch(`${url}/work/${how}/${run}`)).answer)).instance,
    close: () => undefined,
  }
}

export const dashSession: OpenSession = async (url) => {
  const jar = new Jar()
  await good((await jar.fetch(`${url}/`)).answer)
  return {
    ask: async () => {
      const { answer, moved } = await jar.fetch(`${url}/who`)
      return { instance: (await read(answer)).instance, moved }
    },
    // What dash-renderer sends when the text of the input has changed.
    work: async (how, run) => {
      const body = {
        output: 'done.children',
        outputs: { id: 'done', property: 'children' },
        inputs: [{ id: 'what', property: 'value', value: `${how}/${run}` }],
        changedPropIds: ['what.value'],
        parsedChangedPropsIds: ['what.value'],
      }
      const { answer } = await jar.fetch(`${url}/_dash-update-component`, json(body))
      return (await read(answer)).response.done.children
    },
    close: () => undefined,
  }
}

export const gradioSession: OpenSession = async (url) => {
  const jar = new Jar()
  await good((await jar.fetch(`${url}/`)).answer)
  // Gradio's API takes two requests: one begins the event, the other follows it to its end.
  const call = async (name: string, data: string[]) => {
    const begun = await jar.fetch(`${url}/gradio_api/call/${name}`, json({ data }))
    const { event_id } = await read(begun.answer)
    const followed = await jar.fetch(`${url}/gradio_api/call/${name}/${event_id}`)
    const text = await (await good(followed.answer)).text()
    const told = /^event: complete\ndata: (.*)$/m.exec(text)?.[1]
    if (told === undefined) throw new Error(`the event ended with ${text}`)
    return { instance: JSON.parse(told)[0] as string, moved: begun.moved || followed.moved }
  }
  return {
    ask: () => call('who', []),
    work: async (how, run) => (await call('work', [`${how}/${run}`])).instance,
    close: () => undefined,
  }
}

export const streamlitSession: OpenSession = async (url) => {
  const page = await StreamlitPage.open(url)
  const by = (what: string) => page.shows(new RegExp(`${what} by ([a-z0-9-]+)\\.`))
  return {
    ask: async () => {
      await page.run()
      return { instance: by('Served'), moved: false }
    },
    work: async (how) => {
      await page.press(how)
      return by('Done')
    },
    close: () => page.close(),
  }
}
