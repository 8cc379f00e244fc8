import { ByteReader, ByteWriter, CordilleraError, type Version } from '@cordillera/base'

/**
 * The oracle's record: `u8 format=1, bound, safePoint`, and both again, each as a u53. A record of which one byte was
 * altered on disk would make the oracle give out numbers twice: the copies do not agree then.
 */
export interface OracleRecord {
  /** Everything given out so far is at or below. */
  readonly bound: Version
  /** What no snapshot at or above it can see may be collected. */
  readonly safePoint: Version
}

const FORMAT = 1

export function encodeOracleRecord({ bound, safePoint }: OracleRecord): Uint8Array {
  return new ByteWriter(40).u8(FORMAT).u53(bound).u53(safePoint).u53(bound).u53(safePoint).take()
}

/** Throws `CORRUPT`. */
export function decodeOracleRecord(bytes: Uint8Array): OracleRecord {
  const reader = new ByteReader(bytes)
  if (reader.u8() !== FORMAT) throw corrupt()
  const record = { bound: reader.u53(), safePoint: reader.u53() }
  if (reader.u53() !== record.bound || reader.u53() !== record.safePoint) throw corrupt()
  reader.end()
  return record
}

function corrupt(): CordilleraError {
  return new CordilleraError('CORRUPT', { detail: "the oracle's record cannot be trusted" })
}
