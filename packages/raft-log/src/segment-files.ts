import { Buffer } from 'node:buffer'
import { CordilleraError } from '@cordillera/base'
import type { Disk, DiskFile } from './disk.js'
import { SEGMENT_HEADER_BYTES, segmentSlot, tryDecodeSegmentHeader } from './segment-format.js'
import { highestSequence } from './segment-walk.js'

/** A file of the log, found at opening. */
export interface SegmentFile {
  readonly slot: number
  readonly file: DiskFile
  readonly bytes: number
  /** By its header, or else by its batches; undefined when nothing in it can be read. */
  readonly sequence: number | undefined
}

/** A segment is read whole; no larger file is one of ours. */
const FILE_BYTES_MAX = 1024 * 1024 * 1024

/** Opens every file whose name is that of a segment. Other files of the directory are left alone. */
export async function openSegmentFiles(disk: Disk, reader: WholeReader): Promise<SegmentFile[]> {
  const files: SegmentFile[] = []
  for (const name of (await disk.list()).sort()) {
    const slot = segmentSlot(name)
    if (slot === undefined) continue
    const file = await disk.open(name, { create: false })
    const bytes = await file.size()
    if (bytes > FILE_BYTES_MAX) {
      throw new CordilleraError('DIRECTORY_INVALID', { detail: `${name} is larger than any log segment` })
    }
    const found = { slot, file, bytes }
    const header = Buffer.alloc(Math.min(bytes, SEGMENT_HEADER_BYTES))
    await file.read(header, 0)
    files.push({ ...found, sequence: tryDecodeSegmentHeader(header) ?? highestSequence(await reader.read(found)) })
  }
  return files
}

/** Reads files whole, one at a time, into one buffer. */
export class WholeReader {
  #buffer: Buffer = Buffer.alloc(0)

  /** The bytes are valid until the next call. */
  async read(file: { readonly file: DiskFile; readonly bytes: number }): Promise<Buffer> {
    if (this.#buffer.length < file.bytes) this.#buffer = Buffer.allocUnsafeSlow(file.bytes)
    const length = await file.file.read(this.#buffer.subarray(0, file.bytes), 0)
    return this.#buffer.subarray(0, length)
  }
}
