import { connect } from 'node:net'

/**
 * A kept connection that carries one PUT at a time, for a load generator that shares its machine with what it measures:
 * it writes a request with one call and reads no more of an answer than its status and its length.
 *
 * A connection that the server closes between two requests is opened again; one that breaks under a request answers it
 * with status 0, and is opened again too. Nothing is ever sent twice.
 */
export class PutConnection {
  /** Any value of the caller's, of the request under way. */
  tag
  #address
  #onConnected
  #onAnswer
  #requestTail
  #socket
  #received = NOTHING
  #isBusy = false
  #isClosed = false

  /**
   * @param options `host`, `port`; `valueBytes` of every body; `onAnswer(connection, status)`, after which it is free
   * again; `onConnected()`, called once
   */
  constructor({ host, port, valueBytes, onConnected, onAnswer }) {
    this.#address = { host, port }
    this.#onConnected = onConnected
    this.#onAnswer = onAnswer
    this.#requestTail = ` HTTP/1.1\r\nhost: ${host}:${port}\r\ncontent-length: ${valueBytes}\r\n\r\n`
    this.#connect()
  }

  put(path, value) {
    this.#isBusy = true
    const head = `PUT ${path}${this.#requestTail}`
    const request = Buffer.allocUnsafe(head.length + value.length)
    request.latin1Write(head, 0)
    value.copy(request, head.length)
    this.#socket.write(request)
  }

  close() {
    this.#isClosed = true
    this.#socket.destroy()
  }

  #connect() {
    this.#received = NOTHING
    this.#socket = connect({ ...this.#address, noDelay: true }, () => {
      this.#onConnected?.()
      this.#onConnected = undefined
    })
    this.#socket.on('data', (chunk) => this.#onData(chunk))
    this.#socket.on('error', () => {}) // "close" follows.
    this.#socket.on('close', () => {
      if (this.#isClosed) return
      setTimeout(() => this.#reconnect(), RECONNECT_MS)
    })
  }

  #reconnect() {
    if (this.#isClosed) return
    this.#connect()
    if (this.#isBusy) this.#answer(0)
  }

  #onData(chunk) {
    this.#received = this.#received.length === 0 ? chunk : Buffer.concat([this.#received, chunk])
    const headBytes = this.#received.indexOf(HEAD_END) + HEAD_END.length
    if (headBytes < HEAD_END.length) return
    const status = Number(this.#received.latin1Slice(STATUS_AT, STATUS_AT + 3))
    const bodyBytes = status === 204 ? 0 : contentLength(this.#received.latin1Slice(0, headBytes))
    if (this.#received.length < headBytes + bodyBytes) return
    this.#received = NOTHING
    if (this.#isBusy) this.#answer(status)
  }

  #answer(status) {
    this.#isBusy = false
    this.#onAnswer(this, status)
  }
}

const NOTHING = Buffer.alloc(0)
const HEAD_END = Buffer.from('\r\n\r\n')
/** Behind "HTTP/1.1 ". */
const STATUS_AT = 9
const RECONNECT_MS = 10

function contentLength(head) {
  return Number(/^content-length: *(\d+)/im.exec(head)?.[1] ?? 0)
}
