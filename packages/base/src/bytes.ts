import { Buffer } from 'node:buffer'
import { CordilleraError } from './errors.js'
import type { Key } from './key.js'

/**
 * Writing and reading of the hand-made binary layouts: log records, commands, frames. Little-endian.
 *
 * The writer grows by doubling. The reader checks every bound before it reads or allocates and throws `CORRUPT`; it
 * never reads past its end and what it returns are views of the input, unless the method says that it copies.
 */
export class ByteWriter {
  #buffer: Buffer
  #length = 0

  constructor(capacity = 256) {
    this.#buffer = Buffer.allocUnsafeSlow(capacity)
  }

  /** Bytes written so far. */
  get length(): number {
    return this.#length
  }

  u8(value: number): this {
    this.#reserve(1)
    this.#buffer[this.#length++] = value
    return this
  }

  u16(value: number): this {
    this.#length = this.#reserve(2).writeUInt16LE(value, this.#length)
    return this
  }

  u32(value: number): this {
    this.#length = this.#reserve(4).writeUInt32LE(value, this.#length)
    return this
  }

  /** An integer of at most 53 bits, in 8 bytes. */
  u53(value: number): this {
    const buffer = this.#reserve(8)
    buffer.writeUInt32LE(value >>> 0, this.#length)
    buffer.writeUInt32LE(Math.floor(value / 0x1_0000_0000), this.#length + 4)
    this.#length += 8
    return this
  }

  /** An integer of at most 53 bits, 7 bits a byte, low bits first (LEB128). */
  varint(value: number): this {
    const buffer = this.#reserve(8)
    let rest = value
    while (rest > 0x7f) {
      buffer[this.#length++] = (rest % 128) | 0x80
      rest = rest > 0x7fffffff ? Math.floor(rest / 128) : rest >>> 7
    }
    buffer[this.#length++] = rest
    return this
  }

  /** The bytes alone, copied. */
  raw(bytes: Uint8Array): this {
    const at = this.#length
    this.#reserve(bytes.length).set(bytes, at)
    this.#length = at + bytes.length
    return this
  }

  /** Length as a varint, then the bytes. */
  bytes(bytes: Uint8Array): this {
    return this.varint(bytes.length).raw(bytes)
  }

  /** Length as a varint, then one byte a char. */
  key(key: Key): this {
    this.varint(key.length)
    this.#reserve(key.length)
    this.#length += this.#buffer.write(key, this.#length, 'latin1')
    return this
  }

  /** Length in bytes as a varint, then UTF-8. */
  text(text: string): this {
    return this.bytes(Buffer.from(text, 'utf8'))
  }

  /** Overwrites four bytes written earlier: a length that is known only afterwards. */
  patchU32(at: number, value: number): this {
    this.#buffer.writeUInt32LE(value, at)
    return this
  }

  /** The written bytes, as a view that is valid until the next write or {@link clear}. */
  view(): Buffer {
    return this.#buffer.subarray(0, this.#length)
  }

  /** The written bytes in a buffer of their own, which the caller owns; the writer starts again, empty. */
  take(): Buffer {
    const bytes = Buffer.allocUnsafeSlow(this.#length)
    this.#buffer.copy(bytes, 0, 0, this.#length)
    this.#length = 0
    return bytes
  }

  clear(): void {
    this.#length = 0
  }

  #reserve(count: number): Buffer {
    const needed = this.#length + count
    if (needed > this.#buffer.length) {
      const grown = Buffer.allocUnsafeSlow(Math.max(needed, this.#buffer.length * 2))
      this.#buffer.copy(grown, 0, 0, this.#length)
      this.#buffer = grown
    }
    return this.#buffer
  }
}

/** See {@link ByteWriter}. Does not own the input; keep it unchanged while views of it are in use. */
export class ByteReader {
  readonly #buffer: Buffer
  #at: number
  readonly #end: number

  constructor(bytes: Uint8Array, start = 0, end = bytes.length) {
    this.#buffer = asBuffer(bytes)
    this.#at = start
    this.#end = end
  }

  get offset(): number {
    return this.#at
  }

  get remaining(): number {
    return this.#end - this.#at
  }

  u8(): number {
    return this.#buffer[this.#advance(1)]!
  }

  u16(): number {
    return this.#buffer.readUInt16LE(this.#advance(2))
  }

  u32(): number {
    return this.#buffer.readUInt32LE(this.#advance(4))
  }

  /** Throws `CORRUPT` when the stored number has more than 53 bits. */
  u53(): number {
    const at = this.#advance(8)
    const high = this.#buffer.readUInt32LE(at + 4)
    if (high > 0x1fffff) throw corrupt('an integer of more than 53 bits')
    return high * 0x1_0000_0000 + this.#buffer.readUInt32LE(at)
  }

  varint(): number {
    let value = 0
    let scale = 1
    for (let i = 0; i < 8; i++) {
      const byte = this.#buffer[this.#advance(1)]!
      value += (byte & 0x7f) * scale
      if (byte < 0x80) {
        if (value > Number.MAX_SAFE_INTEGER) break
        return value
      }
      scale *= 128
    }
    throw corrupt('an integer of more than 53 bits')
  }

  /** A view of the next `length` bytes. */
  raw(length: number): Buffer {
    const at = this.#advance(length)
    return this.#buffer.subarray(at, at + length)
  }

  /** Passes over bytes written by {@link ByteWriter.bytes}: they end at the {@link offset}. Returns where they begin. */
  skipBytes(lengthMax = 0xffffffff): number {
    return this.#advance(this.#length(lengthMax))
  }

  /** Passes over so many bytes. Returns where they begin. */
  skip(length: number): number {
    return this.#advance(length)
  }

  /** A view; see {@link ByteWriter.bytes}. Throws `CORRUPT` above `lengthMax`. */
  bytes(lengthMax = 0xffffffff): Buffer {
    return this.raw(this.#length(lengthMax))
  }

  /** A copy; see {@link ByteWriter.key}. */
  key(lengthMax = 0xffff): Key {
    const length = this.#length(lengthMax)
    const at = this.#advance(length)
    return this.#buffer.toString('latin1', at, at + length)
  }

  /** A copy; see {@link ByteWriter.text}. Invalid UTF-8 becomes U+FFFD. */
  text(lengthMax = 0xffff): string {
    return this.bytes(lengthMax).toString('utf8')
  }

  /** Throws `CORRUPT` unless everything was read. */
  end(): void {
    if (this.#at !== this.#end) throw corrupt(`${this.remaining} bytes too many`)
  }

  #length(lengthMax: number): number {
    const length = this.varint()
    if (length > lengthMax) throw corrupt(`a length of ${length}, above ${lengthMax}`)
    return length
  }

  #advance(count: number): number {
    const at = this.#at
    if (count > this.#end - at) throw corrupt(`${count} bytes wanted, ${this.#end - at} left`)
    this.#at = at + count
    return at
  }
}

/** The same memory as a Buffer. */
export function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

export const NO_BYTES: Uint8Array = Buffer.alloc(0)

function corrupt(what: string): CordilleraError {
  return new CordilleraError('CORRUPT', { detail: `malformed bytes: ${what}` })
}
