/**
 * The version of everything that nodes say to each other: handshake, framing, layouts. It changes with any of them;
 * nodes of different versions refuse each other.
 *
 * A frame is a sequence of records, one behind the other: a kind (one byte), then what that kind's codec wrote. Records
 * delimit themselves. Kinds: 1–2 liveness, 16–22 Raft, 32–44 calls, 48–50 questions of open shape.
 */
export const PROTOCOL_VERSION = 1

export const LinkKind = { ping: 1, pong: 2 } as const
export const AskKind = { question: 48, answer: 49, failure: 50 } as const

/** A frame that is larger is refused by the transport. */
export const FRAME_BYTES_MAX = 16 << 20
