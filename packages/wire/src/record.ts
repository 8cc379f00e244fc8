/**
 * The shape of a frame: four bytes of room for the transport's checksum, six (big endian) with the number of the batch
 * through which the sender's log was durable when the frame left, then records one behind the other. A record is
 * a kind and a hand-made body that delimits itself; `raft-codec`, `range-request-codec`, `range-reply-codec` and
 * `ask-codec` say how. Integers are varints unless said otherwise.
 *
 * A frame leaves a few turns after it was begun, or as soon as it has grown past {@link FRAME_BYTES_LEAVE}: everything that one
 * turn had for one peer, heartbeats of a thousand groups included, is one frame.
 */

/**
 * Nodes speak to each other only when theirs are equal. Counts up with every change of a layout: a test pins it to a
 * hash of sample encodings.
 */
export const PROTOCOL_VERSION = 7

/** The first bytes of every frame belong to the transport, which may keep a checksum of the rest there. */
export const FRAME_ROOM_BYTES = 4
/** What stands before the first record. */
export const FRAME_HEAD_BYTES = FRAME_ROOM_BYTES + 6
/** The hard limit of a frame, in both directions. */
export const FRAME_BYTES_MAX = 16 * 1024 * 1024
/** A frame that has grown past this leaves within the turn. */
export const FRAME_BYTES_LEAVE = 256 * 1024
/** What one record may take, so that it fits behind others in a frame that is about to leave. */
export const RECORD_BYTES_MAX = FRAME_BYTES_MAX - FRAME_BYTES_LEAVE - 1024

export const RecordKind = {
  ping: 1,
  pong: 2,
  life: 3,
  outdated: 4,
  voteRequest: 16,
  voteReply: 17,
  appendRequest: 18,
  appendReply: 19,
  heartbeat: 20,
  heartbeatReply: 21,
  timeoutNow: 22,
  snapshotRequest: 23,
  write: 32,
  read: 33,
  scan: 34,
  timestamps: 35,
  index: 36,
  outcome: 37,
  written: 40,
  values: 41,
  scanned: 42,
  refused: 43,
  unknown: 44,
  issued: 45,
  indexed: 46,
  decided: 47,
  ask: 48,
  answer: 49,
  askFailed: 50,
  snapshotOffer: 56,
  snapshotChunk: 57,
  snapshotCancelled: 58,
  snapshotCredit: 59,
  snapshotEnded: 60,
} as const
