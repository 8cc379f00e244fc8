import type { Buffer } from 'node:buffer'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type Clock, CordilleraError } from '@cordillera/base'
import { WebSocketServer } from 'ws'
import { formatAddress, type HostPort } from './address.js'
import { PEER_PATH, SOCKET_OPTIONS, STRANGER_BYTES_MAX } from './dial.js'
import { MessageSocket } from './message-socket.js'
import type { QuietLog } from './quiet-log.js'

const CONNECTIONS_MAX = 4_096
const HEADERS_TIMEOUT_MS = 5_000
const HEADER_BYTES_MAX = 8 * 1024

/**
 * The port where nodes and guests connect: an HTTP server of its own that knows one path and only upgrades.
 *
 * Everything else (plain HTTP, other protocols, browsers, which send an Origin) is answered or closed at once, logged
 * at most once a minute for each sender, and never reaches further.
 */
export class Listener {
  readonly #server: Server
  readonly #upgrades: WebSocketServer
  readonly #log: QuietLog
  readonly #sockets = new Set<Socket>()
  readonly #onStranger: (socket: MessageSocket) => void

  constructor(log: QuietLog, onStranger: (socket: MessageSocket) => void) {
    this.#log = log
    this.#onStranger = onStranger
    this.#upgrades = new WebSocketServer({ noServer: true, clientTracking: false, ...SOCKET_OPTIONS })
    this.#server = createServer({
      maxHeaderSize: HEADER_BYTES_MAX,
      headersTimeout: HEADERS_TIMEOUT_MS,
      requestTimeout: HEADERS_TIMEOUT_MS,
      connectionsCheckingInterval: 1_000,
    })
    this.#server.maxConnections = CONNECTIONS_MAX
    this.#server.on('connection', (socket: Socket) => this.#track(socket))
    this.#server.on('upgrade', (request, socket, head) => this.#onUpgrade(request, socket as Socket, head))
    this.#server.on('request', (request, response) => {
      this.#onGarbage(request.socket, 'plain HTTP')
      const headers = { Connection: 'close', Upgrade: 'websocket', 'Content-Type': 'text/plain' }
      response.writeHead(426, headers).end('This is the peer port of a Cordillera node; HTTP has another one.\n')
    })
    this.#server.on('clientError', (error, socket: Duplex) => {
      this.#onGarbage(socket as Socket, error.message)
      socket.destroy()
    })
  }

  /** Resolves with what is listened at. Rejects with `CONFIG_INVALID` and the system's error as its cause. */
  listen({ host, port }: HostPort): Promise<HostPort> {
    return new Promise((resolve, reject) => {
      const onError = (cause: Error): void => {
        const detail = `cannot listen at ${formatAddress({ host, port })}: ${cause.message}`
        reject(new CordilleraError('CONFIG_INVALID', { detail, cause }))
      }
      this.#server.once('error', onError)
      this.#server.listen(port, host, () => {
        this.#server.off('error', onError)
        this.#server.on('error', (error) => this.#log.warn('listener-failed', '', { error: error.message }))
        resolve({ host, port: (this.#server.address() as AddressInfo).port })
      })
    })
  }

  /** Takes no new connections; resolves once the present ones are gone, which are ended after `graceMs`. */
  async close(clock: Clock, graceMs: number): Promise<void> {
    const gone = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    const timer = clock.after(graceMs, () => {
      for (const socket of this.#sockets) socket.destroy()
    })
    await gone
    timer.cancel()
  }

  #track(socket: Socket): void {
    this.#sockets.add(socket)
    socket.on('close', () => this.#sockets.delete(socket))
    // A reset is an event like any other here; nothing of Node's may end the process because of it.
    socket.on('error', () => {})
  }

  #onUpgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    if (request.url !== PEER_PATH || request.headers.origin !== undefined) {
      this.#onGarbage(socket, 'an upgrade that is not for this port')
      socket.end('HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n', () => socket.destroy())
      return
    }
    this.#upgrades.handleUpgrade(request, socket, head, (ws) => {
      this.#onStranger(new MessageSocket(ws, socket, STRANGER_BYTES_MAX))
    })
  }

  #onGarbage(socket: Socket, detail: string): void {
    this.#log.warn('peer-port-garbage', socket.remoteAddress ?? 'unknown', { remote: socket.remoteAddress, detail })
  }
}
