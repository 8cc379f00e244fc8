import { crc32 } from 'node:zlib'
import { asBuffer, CordilleraError } from '@cordillera/base'
import { FRAME_BYTES_MAX, FRAME_ROOM_BYTES } from '@cordillera/wire'

/**
 * The CRC-32 of a frame, in the room that `wire` leaves at its beginning: entries go from here into logs, and the 16 bits
 * of TCP's checksum let one damaged segment in 65,536 through.
 */
export function sealFrame(frame: Uint8Array): void {
  const buffer = asBuffer(frame)
  buffer.writeUInt32LE(crc32(buffer.subarray(FRAME_ROOM_BYTES)), 0)
}

/** Throws `CORRUPT` unless the frame is as it was sealed, and within its limit. */
export function checkFrame(frame: Buffer): void {
  if (frame.length < FRAME_ROOM_BYTES || frame.length > FRAME_BYTES_MAX) {
    throw new CordilleraError('CORRUPT', { detail: `a frame of ${frame.length} bytes` })
  }
  if (crc32(frame.subarray(FRAME_ROOM_BYTES)) !== frame.readUInt32LE(0)) {
    throw new CordilleraError('CORRUPT', { detail: 'the checksum of a frame does not match' })
  }
}
