import { type Agent, type IncomingHttpHeaders, type OutgoingHttpHeaders, request } from 'node:http'
import { connect } from 'node:net'

/**
 * HTTP as it is on the wire: targets are sent as given (`fetch` would mend them), and an error of the connection says
 * whether the request can have arrived.
 */
export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
  /** The code of a problem+json body. */
  readonly code: string | undefined
}

export interface Sending {
  readonly method?: string
  readonly body?: string | Uint8Array
  readonly headers?: OutgoingHttpHeaders
  readonly agent?: Agent
  /** Aborting it breaks the connection, whatever was sent. */
  readonly signal?: AbortSignal
}

/** The connection was never made, so nothing can have happened. */
export class NotSent extends Error {}

/** `base` is `http://host:port`, `target` the path and query, as sent. */
export function send(
  base: string,
  target: string,
  { method = 'GET', body, headers, agent, signal }: Sending = {},
): Promise<Answer> {
  const { hostname, port } = new URL(base)
  return new Promise((resolve, reject) => {
    const given = { ...(headers && { headers }), ...(agent && { agent }), ...(signal && { signal }) }
    const options = { hostname, port, path: target, method, ...given }
    const outgoing = request(options, (incoming) => {
      const chunks: Buffer[] = []
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
      incoming.on('error', reject)
      incoming.on('end', () => {
        const whole = Buffer.concat(chunks)
        const { statusCode: status = 0, headers: received } = incoming
        resolve({ status, headers: received, body: whole, code: problemCode(received, whole) })
      })
    })
    outgoing.on('error', (error: NodeJS.ErrnoException) => {
      reject(error.code === 'ECONNREFUSED' ? new NotSent(error.message) : error)
    })
    outgoing.end(body)
  })
}

/** Writes bytes to a port and collects what comes back until the other side closes, or `until` is satisfied. */
export function exchange(
  address: string,
  bytes: string | Uint8Array,
  until?: (text: string) => boolean,
): Promise<string> {
  const [host, port] = address.split(':')
  return new Promise((resolve) => {
    const socket = connect({ host: host!, port: Number(port) }, () => socket.write(bytes))
    let text = ''
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
      if (until?.(text)) socket.destroy()
    })
    socket.on('error', () => {})
    socket.on('close', () => resolve(text))
  })
}

function problemCode(headers: IncomingHttpHeaders, body: Buffer): string | undefined {
  if (!headers['content-type']?.startsWith('application/problem+json') || body.length === 0) return undefined
  return JSON.parse(body.toString('utf8')).code
}

/** Writes a key and insists that it was written. */
export async function put(base: string, key: string, value: string | Uint8Array): Promise<void> {
  const { status, body } = await send(base, `/v1/kv/${key}`, { method: 'PUT', body: value })
  if (status !== 204) throw new Error(`PUT ${key}: ${status} ${body}`)
}

/** The value of a key as text; null when there is none. */
export async function get(base: string, key: string): Promise<string | null> {
  const { status, body } = await send(base, `/v1/kv/${key}`)
  if (status === 404) return null
  if (status !== 200) throw new Error(`GET ${key}: ${status} ${body}`)
  return body.toString('utf8')
}
