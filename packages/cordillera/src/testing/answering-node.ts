import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo } from 'node:net'
import { runProgram } from '../program.js'

export interface Received {
  readonly method: string
  readonly url: string
  readonly body: string
}

export interface Ran {
  readonly status: number
  readonly out: string
  readonly err: string
}

export interface RunOptions {
  readonly stdin?: string
  readonly isTerminal?: boolean
  readonly environment?: object
}

export type Answer = (res: ServerResponse, req: IncomingMessage) => void

/** A node that answers what it is told, remembers what it was asked, and runs the command line against itself. */
export class AnsweringNode {
  answer: Answer = (res) => res.end()
  readonly received: Received[] = []
  readonly receivedHeaders: IncomingHttpHeaders[] = []
  readonly #server: Server

  constructor() {
    this.#server = createServer((req, res) => {
      const chunks: Buffer[] = []
      req.on('data', (chunk) => chunks.push(chunk))
      req.on('end', () => {
        this.receivedHeaders.push(req.headers)
        this.received.push({ method: req.method!, url: req.url!, body: Buffer.concat(chunks).toString('latin1') })
        this.answer(res, req)
      })
    })
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  listen(): Promise<void> {
    return new Promise((resolve) => this.#server.listen(0, '127.0.0.1', resolve))
  }

  close(): void {
    this.#server.closeAllConnections()
    this.#server.close()
  }

  forget(): void {
    this.received.splice(0)
    this.receivedHeaders.splice(0)
  }

  /** The output is one char a byte. */
  async run(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
    const out: Buffer[] = []
    let err = ''
    const status = await runProgram(args, {
      environment: { CORDILLERA_ENDPOINT: this.endpoint, ...options.environment },
      stdin: (async function* () {
        if (options.stdin !== undefined) yield Buffer.from(options.stdin, 'latin1')
      })(),
      isTerminal: options.isTerminal ?? false,
      out: (content) => void out.push(Buffer.from(content as string)),
      err: (text) => {
        err += text
      },
    })
    return { status, out: Buffer.concat(out).toString('latin1'), err }
  }
}

export const json =
  (body: object, status = 200): Answer =>
  (res) =>
    void res.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))

export const problem =
  (status: number, code: string, detail = 'the detail'): Answer =>
  (res) => {
    res.writeHead(status, { 'content-type': 'application/problem+json' })
    res.end(JSON.stringify({ status, code, detail, retry: 'never', title: 't', type: 'urn:x' }))
  }
