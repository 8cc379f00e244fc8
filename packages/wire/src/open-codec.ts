import { CordilleraError } from '@cordillera/base'
import { Packr } from 'msgpackr'

/**
 * Values of open shape, for what is rare: MessagePack, plain data alone. The bytes are bounded by their frame; nesting,
 * which would otherwise be bounded only by the stack, fails as malformed.
 */
const packr = new Packr({ useRecords: false, mapsAsObjects: true, int64AsType: 'number' })

export function encodeOpen(value: unknown): Uint8Array {
  return packr.pack(value)
}

/** Throws `CORRUPT`. The value shares no memory with `bytes`. */
export function decodeOpen(bytes: Uint8Array): unknown {
  try {
    return packr.unpack(bytes)
  } catch (cause) {
    throw new CordilleraError('CORRUPT', { detail: 'malformed message: not MessagePack', cause })
  }
}
