import { type Clock, CordilleraError } from '@cordillera/base'
import { FRAME_BYTES_MAX } from '@cordillera/wire'
import { decodeQuestion, encodeAnswer, encodeFailure } from './hello.js'
import type { MessageSocket } from './message-socket.js'
import type { QuietLog } from './quiet-log.js'

interface Guest {
  readonly socket: MessageSocket
  readonly clock: Clock
  readonly guestMs: number
  readonly guestQuestionBytesMax: number
  readonly onQuestion: (body: Uint8Array) => Promise<Uint8Array>
  readonly onGone: () => void
  readonly log: QuietLog
}

/** Takes one question, sends one answer, or the code of why there is none, and ends the connection, all in `guestMs`. */
export function answerGuest(guest: Guest): void {
  const { socket, clock, log } = guest
  const timer = clock.after(guest.guestMs, () => socket.terminate())
  let isAsked = false
  socket.allow(guest.guestQuestionBytesMax)
  socket.listen({
    onMessage: (message) => {
      if (isAsked) {
        socket.terminate()
        return
      }
      isAsked = true
      void answer(guest, message).then((reply) => {
        socket.send(reply)
        socket.close()
      })
    },
    onClose: (error) => {
      timer.cancel()
      guest.onGone()
      if (error !== undefined) log.warn('guest-garbage', socket.remote.replace(/:\d+$/, ''), { error: error.message })
    },
  })
}

async function answer({ onQuestion }: Guest, message: Uint8Array): Promise<Uint8Array> {
  try {
    const reply = encodeAnswer(await onQuestion(decodeQuestion(message)))
    if (reply.length > FRAME_BYTES_MAX) throw new CordilleraError('INTERNAL', { detail: 'the answer is too large' })
    return reply
  } catch (error) {
    return encodeFailure(error)
  }
}
