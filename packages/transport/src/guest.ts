import { Buffer } from 'node:buffer'
import { type Clock, CordilleraError, type ErrorCode, errorKinds } from '@cordillera/base'
import { FRAME_BYTES_MAX } from '@cordillera/wire'
import WebSocket from 'ws'
import { decodeHello, encodeHello, handshakeRefused } from './hello.js'

/**
 * A question outside of the mesh: a connection of its own, hello, one frame there, one frame back. The answer's first
 * byte says whether the rest is the answer (0) or a coded error as JSON (1).
 */
export function encodeGuestAnswer(answer: Uint8Array): Uint8Array {
  return Buffer.concat([Buffer.of(0), answer])
}

export function encodeGuestFailure(error: unknown): Uint8Array {
  const code = error instanceof CordilleraError ? error.code : 'INTERNAL'
  const detail = error instanceof CordilleraError ? error.message : 'the node met a defect of its own'
  return Buffer.concat([Buffer.of(1), Buffer.from(JSON.stringify({ code, detail }))])
}

function decodeGuestAnswer(bytes: Buffer): Uint8Array {
  if (bytes[0] === 0) return bytes.subarray(1)
  let said: { code?: unknown; detail?: unknown } = {}
  try {
    said = JSON.parse(bytes.toString('utf8', 1)) as typeof said
  } catch {
    // Falls through to the unknown code below.
  }
  const code = typeof said.code === 'string' && Object.hasOwn(errorKinds, said.code) ? said.code : 'INTERNAL'
  throw new CordilleraError(code as ErrorCode, { detail: String(said.detail) })
}

/** Rejects with the other side's code, HANDSHAKE_REFUSED, or UNAVAILABLE when nobody answered in time. */
export function askAsGuest(address: string, body: Uint8Array, timeoutMs: number, clock: Clock): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://${address}/`, { perMessageDeflate: false, maxPayload: FRAME_BYTES_MAX })
    const timer = clock.after(timeoutMs, () => fail(unavailable(address, 'it did not answer in time')))
    const fail = (error: unknown): void => {
      timer.cancel()
      socket.terminate()
      reject(error)
    }
    socket.on('open', () => socket.send(encodeHello({ role: 'guest' })))
    socket.on('message', (data: Buffer, isBinary) => {
      try {
        if (isBinary) {
          timer.cancel()
          resolve(decodeGuestAnswer(data))
          socket.close()
          return
        }
        const hello = decodeHello(data.toString('utf8'))
        if (hello.role === 'refused') throw handshakeRefused(hello.refusal)
        socket.send(body)
      } catch (error) {
        fail(error)
      }
    })
    socket.on('error', (cause) => fail(unavailable(address, cause.message, cause)))
    socket.on('close', () => fail(unavailable(address, 'it closed the connection')))
  })
}

function unavailable(address: string, why: string, cause?: unknown): CordilleraError {
  return new CordilleraError('UNAVAILABLE', { detail: `${address} cannot be asked: ${why}`, cause })
}
