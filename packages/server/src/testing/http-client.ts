import { Buffer } from 'node:buffer'
import { Agent, type IncomingHttpHeaders, request } from 'node:http'
import { connect } from 'node:net'
import type { Clock, Logger } from '@cordillera/base'
import { type HttpLimits, HttpServer } from '../http-server.js'
import type { Problem } from '../problem-schema.js'
import { FakeNode } from './fake-node.js'

/** A server on a free loopback port over a fake node, and a client that sends exactly what it is told. */
export interface Served {
  readonly server: HttpServer
  readonly node: FakeNode
  readonly port: number
  readonly logged: string[]
  send(options: SendOptions): Promise<Answer>
  get(path: string): Promise<Answer>
  close(): Promise<void>
}

export interface SendOptions {
  readonly method?: string
  /** Sent as it is, without normalization. */
  readonly path: string
  readonly headers?: Record<string, string>
  readonly body?: string | Uint8Array
}

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
  readonly text: string
  /** The body as JSON. */
  json<T = Problem>(): T
}

export const testClock: Clock = {
  now: () => performance.now(),
  wallMs: () => Date.now(),
  after: (delayMs, callback) => {
    const timer = setTimeout(callback, delayMs)
    return { cancel: () => clearTimeout(timer) }
  },
  defer: (callback) => void setImmediate(callback),
}

export async function serveFake(limits: Partial<HttpLimits> = {}): Promise<Served> {
  const logged: string[] = []
  const log = (event: string): void => void logged.push(event)
  const logger: Logger = { debug: log, info: log, warn: log, error: log }
  const server = await HttpServer.create({ clock: testClock, logger, limits })
  const node = new FakeNode()
  const { port } = await server.listen({ host: '127.0.0.1', port: 0 })
  server.serve(node)
  const agent = new Agent({ keepAlive: true })
  const send = (options: SendOptions): Promise<Answer> => sendRequest(port, agent, options)
  return {
    server,
    node,
    port,
    logged,
    send,
    get: (path) => send({ path }),
    close: async () => {
      agent.destroy()
      await server.close(1_000)
    },
  }
}

function sendRequest(
  port: number,
  agent: Agent,
  { method = 'GET', path, headers, body }: SendOptions,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const req = request({ host: '127.0.0.1', port, agent, method, path, ...(headers && { headers }) }, (res) => {
      const chunks: Buffer[] = []
      res.on('data', (chunk) => chunks.push(chunk))
      res.on('error', reject)
      res.on('end', () => {
        const bytes = Buffer.concat(chunks)
        const text = bytes.toString('utf8')
        resolve({ status: res.statusCode!, headers: res.headers, body: bytes, text, json: () => JSON.parse(text) })
      })
    })
    req.on('error', reject)
    req.end(body)
  })
}

/** A raw connection: sends bytes, collects everything that comes back. */
export class RawConnection {
  received = ''
  closed = false
  readonly #socket
  readonly #waiting: (() => void)[] = []

  constructor(port: number) {
    this.#socket = connect(port, '127.0.0.1')
    this.#socket.on('data', (chunk) => {
      this.received += chunk.toString('latin1')
      this.#notice()
    })
    this.#socket.on('error', () => {})
    this.#socket.on('close', () => {
      this.closed = true
      this.#notice()
    })
  }

  write(bytes: string | Uint8Array): this {
    this.#socket.write(bytes)
    return this
  }

  /** Closes the sending half. */
  end(): this {
    this.#socket.end()
    return this
  }

  destroy(): void {
    this.#socket.destroy()
  }

  async until(condition: (connection: RawConnection) => boolean): Promise<this> {
    while (!condition(this)) await new Promise<void>((resolve) => this.#waiting.push(resolve))
    return this
  }

  #notice(): void {
    for (const resolve of this.#waiting.splice(0)) resolve()
  }
}
