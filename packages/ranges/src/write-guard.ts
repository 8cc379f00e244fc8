import {
  type ByteReader,
  type ByteWriter,
  CordilleraError,
  type Incarnation,
  type NodeId,
  type Version,
} from '@cordillera/base'

/** What must hold, at apply, for a command to write. All of it. */
export interface WriteGuard {
  /** The key's newest version is this; 0: there is none. */
  readonly ifVersion?: Version
  /** There is one. */
  readonly ifPresent?: true
  /** Where there is one, it is not above this. */
  readonly notAfter?: Version
  /** The operation's id, 16 bytes, then the fingerprint of its request, 16 bytes: see `OperationMemory`. */
  readonly idempotency?: Uint8Array
}

/**
 * Who numbers operations: one start of one node. With `nodeId` 0 there is no session: nothing of the operations is
 * remembered, and sending them twice is doing them twice.
 */
export interface Session {
  readonly nodeId: NodeId
  readonly incarnation: Incarnation
}

export const NO_SESSION: Session = { nodeId: 0, incarnation: 0 }

export const IDEMPOTENCY_BYTES = 32
export const PUT = 1
export const DELETE = 2
export const KIND_MASK = 0b11
export const IF_VERSION = 4
export const IF_PRESENT = 8
export const IDEMPOTENT = 16
export const NOT_AFTER = 32
export const GUARDS = IF_VERSION | IF_PRESENT | IDEMPOTENT | NOT_AFTER

export function flagsOf({ ifVersion, ifPresent, idempotency, notAfter }: WriteGuard): number {
  return (
    (ifVersion === undefined ? 0 : IF_VERSION) |
    (ifPresent ? IF_PRESENT : 0) |
    (idempotency ? IDEMPOTENT : 0) |
    (notAfter === undefined ? 0 : NOT_AFTER)
  )
}

/** `u8 kind | guards`, what `between` writes, then the fields of the guards. */
export function writeGuardFields(
  writer: ByteWriter,
  kind: number,
  guard: WriteGuard | undefined,
  between: () => void,
): void {
  writer.u8(guard === undefined ? kind : kind | flagsOf(guard))
  between()
  if (guard === undefined) return
  const { ifVersion, idempotency, notAfter } = guard
  if (ifVersion !== undefined) writer.varint(ifVersion)
  if (notAfter !== undefined) writer.varint(notAfter)
  if (idempotency !== undefined) writer.raw(idempotency)
}

/** The fields that the flags name; undefined when they name none. Throws `CORRUPT`. */
export function readGuardFields(reader: ByteReader, flags: number): WriteGuard | undefined {
  if ((flags & ~KIND_MASK) === 0) return undefined
  if ((flags & ~(KIND_MASK | GUARDS)) !== 0) {
    throw new CordilleraError('CORRUPT', { detail: `malformed write block: guards ${flags} are unknown` })
  }
  const guard: { ifVersion?: Version; ifPresent?: true; notAfter?: Version; idempotency?: Uint8Array } = {}
  if ((flags & IF_VERSION) !== 0) guard.ifVersion = reader.varint()
  if ((flags & IF_PRESENT) !== 0) guard.ifPresent = true
  if ((flags & NOT_AFTER) !== 0) guard.notAfter = reader.varint()
  if ((flags & IDEMPOTENT) !== 0) guard.idempotency = reader.raw(IDEMPOTENCY_BYTES)
  return guard
}

export function skipGuardFields(reader: ByteReader, flags: number): void {
  if ((flags & IF_VERSION) !== 0) reader.varint()
  if ((flags & NOT_AFTER) !== 0) reader.varint()
  if ((flags & IDEMPOTENT) !== 0) reader.skip(IDEMPOTENCY_BYTES)
}
