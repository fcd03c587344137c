import { WebSocket } from 'ws'
import { field, fieldsOf, within } from './protobuf.ts'

/** Numbers of fields in streamlit/proto/*.proto of Streamlit 1.67. */
const BACK = { rerunScript: 11, fileUrlsRequest: 16 }
const FORWARD = { newSession: 4, scriptFinished: 6, fileUrlsResponse: 19 }
const CLIENT_STATE = { widgetStates: 2 }
const WIDGET = { id: 1, trigger: 2, files: 13 }
const FILE_INFO = { name: 2, size: 3, id: 4, urls: 5 }
const FILE_URLS = { fileId: 1, uploadUrl: 2 }

const ANSWER_MS = 30_000

/** One open page of a Streamlit app, talking to it as its own front end does: a WebSocket, and a PUT for each upload. */
export class StreamlitPage {
  readonly #url: string
  readonly #cookie: string
  readonly #socket: WebSocket
  readonly #messages: Buffer[] = []
  #wake: () => void = () => undefined
  #ended: string | null = null
  /** Id of the session, which is part of every address for uploads. */
  session = ''
  /** All text that the last run of the script put on the page. */
  text = ''

  private constructor(url: string, cookie: string) {
    this.#url = url
    this.#cookie = cookie
    const headers = { origin: new URL(url).origin, ...(cookie !== '' && { cookie }) }
    this.#socket = new WebSocket(`${url.replace(/^http/, 'ws')}/_stcore/stream`, ['streamlit'], { headers })
    this.#socket.on('open', () => this.#wake())
    this.#socket.on('message', (data) => {
      this.#messages.push(data as Buffer)
      this.#wake()
    })
    const end = (why: string) => {
      this.#ended ??= why
      this.#wake()
    }
    this.#socket.on('error', (error) => end(String(error)))
    this.#socket.on('close', (code) => end(`closed with ${code}`))
  }

  /** As a browser with no cookies: the page first, which sets the routing cookie if there is one, then the session. */
  static async open(url: string): Promise<StreamlitPage> {
    const answer = await fetch(url)
    await answer.arrayBuffer()
    if (!answer.ok) throw new Error(`${url} answered ${answer.status}`)
    const cookie = answer.headers.getSetCookie().map((line) => line.split(';')[0])
    const page = new StreamlitPage(url, cookie.join('; '))
    await page.run()
    return page
  }

  /** Runs the script with the state of these widgets; all others keep theirs. */
  async run(...widgets: Buffer[]): Promise<void> {
    const states = Buffer.concat(widgets.map((state) => field(1, state)))
    await this.#send(field(BACK.rerunScript, field(CLIENT_STATE.widgetStates, states)))
    const messages = await this.#messagesUntil(FORWARD.scriptFinished)
    this.text = messages.join('\n')
    const begun = messages.find((message) => has(message, FORWARD.newSession))
    // NewSession.initialize.session_id
    if (begun !== undefined) this.session = within(begun, FORWARD.newSession, 1, 6).toString()
  }

  /** Presses the button with this key. */
  async press(key: string): Promise<void> {
    await this.run(Buffer.concat([field(WIDGET.id, this.#widget(key)), field(WIDGET.trigger, 1)]))
  }

  /** Chooses a file in the uploader with this key; the script runs again only if the upload was taken. */
  async upload(key: string, name: string, content: string): Promise<{ status: number; text: string }> {
    const request = [field(1, 'request'), field(2, name), field(3, this.session)]
    await this.#send(field(BACK.fileUrlsRequest, Buffer.concat(request)))
    const answered = (await this.#messagesUntil(FORWARD.fileUrlsResponse)).at(-1) as Buffer
    const urls = within(answered, FORWARD.fileUrlsResponse, 2)

    const form = new FormData()
    form.append('file', new Blob([content], { type: 'text/csv' }), name)
    const answer = await fetch(`${this.#url}${within(urls, FILE_URLS.uploadUrl)}`, {
      method: 'PUT',
      body: form,
      headers: this.#cookie === '' ? {} : { cookie: this.#cookie },
    })
    const text = await answer.text()
    if (!answer.ok) return { status: answer.status, text }

    const info = Buffer.concat([
      field(FILE_INFO.name, name),
      field(FILE_INFO.size, Buffer.byteLength(content)),
      field(FILE_INFO.id, within(urls, FILE_URLS.fileId)),
      field(FILE_INFO.urls, urls),
    ])
    await this.run(Buffer.concat([field(WIDGET.id, this.#widget(key)), field(WIDGET.files, field(2, info))]))
    return { status: answer.status, text }
  }

  /** What the page's download button offers. */
  async download(): Promise<{ status: number; text: string }> {
    const path = /\/media\/[0-9a-f]+\.csv/.exec(this.text)?.[0]
    if (path === undefined) throw new Error(`no download in ${this.text}`)
    const answer = await fetch(`${this.#url}${path}`, { headers: this.#cookie === '' ? {} : { cookie: this.#cookie } })
    return { status: answer.status, text: await answer.text() }
  }

  /** The first group of the pattern in what the page shows. */
  shows(pattern: RegExp): string {
    const found = pattern.exec(this.text)?.[1]
    if (found === undefined) throw new Error(`${pattern} is not in ${this.text}`)
    return found
  }

  close(): void {
    this.#socket.terminate()
  }

  #widget(key: string): string {
    return this.shows(new RegExp(`(\\$\\$ID-[0-9a-f]+-${key})`))
  }

  async #send(message: Buffer): Promise<void> {
    await this.#until('the WebSocket to open', () => this.#socket.readyState === WebSocket.OPEN || null)
    this.#socket.send(message)
  }

  /** What comes up to the first message of this kind, and that one. */
  async #messagesUntil(kind: number): Promise<Buffer[]> {
    const messages: Buffer[] = []
    do messages.push(await this.#until(`a message of kind ${kind}`, () => this.#messages.shift() ?? null))
    while (!has(messages.at(-1) as Buffer, kind))
    return messages
  }

  async #until<T>(what: string, look: () => T | null): Promise<T> {
    const deadline = AbortSignal.timeout(ANSWER_MS)
    deadline.onabort = () => this.#wake()
    for (;;) {
      const found = look()
      if (found !== null) return found
      if (this.#ended !== null) throw new Error(`waited for ${what}: ${this.#ended}`)
      if (deadline.aborted) throw new Error(`waited ${ANSWER_MS} ms for ${what}`)
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }
}

function has(message: Buffer, number: number): boolean {
  return fieldsOf(message).some((candidate) => candidate.number === number)
}
