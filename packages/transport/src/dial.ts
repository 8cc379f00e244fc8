import type { Socket } from 'node:net'
import type { Clock, Timer } from '@cordillera/base'
import { FRAME_BYTES_MAX } from '@cordillera/wire'
import { WebSocket } from 'ws'
import { HANDSHAKE_BYTES_MAX } from './hello.js'
import { MessageSocket } from './message-socket.js'

/** What a stranger may send in a whole handshake, WebSocket framing included. */
export const STRANGER_BYTES_MAX = 4 * HANDSHAKE_BYTES_MAX
/** The path of the upgrade request: what is not for us is turned away by it. */
export const PEER_PATH = '/cordillera/peer'

/** Of every WebSocket, on both sides. `closeTimeout`, in ms, bounds the wait for the other side's part in closing. */
export const SOCKET_OPTIONS = {
  perMessageDeflate: false,
  maxPayload: FRAME_BYTES_MAX,
  skipUTF8Validation: true,
  closeTimeout: 1_000,
} as const

export interface DialEvents {
  onOpen(socket: MessageSocket): void
  /** A refused connection has the code `ECONNREFUSED`. */
  onFailed(error: Error): void
}

/**
 * Opens a WebSocket to `address` (`host:port`, valid). Exactly one event follows, on a later turn, within `timeoutMs`,
 * unless it is cancelled with the function that is returned.
 */
export function dial(address: string, clock: Clock, timeoutMs: number, events: DialEvents): () => void {
  const ws = new WebSocket(`ws://${address}${PEER_PATH}`, SOCKET_OPTIONS)
  let tcp: Socket | undefined
  let isOver = false
  const end = (): boolean => {
    const wasOver = isOver
    isOver = true
    timer.cancel()
    return !wasOver
  }
  const timer: Timer = clock.after(timeoutMs, () => {
    if (!end()) return
    ws.terminate()
    events.onFailed(new Error(`no connection within ${timeoutMs} ms`))
  })
  ws.on('upgrade', (response) => {
    tcp = response.socket
  })
  ws.on('open', () => {
    if (end()) events.onOpen(new MessageSocket(ws, tcp!, STRANGER_BYTES_MAX))
  })
  ws.on('error', (error) => {
    if (end()) events.onFailed(error)
  })
  return () => {
    if (end()) ws.terminate()
  }
}
