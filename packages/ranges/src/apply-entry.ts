import { ByteReader, type Key, type Version } from '@cordillera/base'
import { type Descriptor, type Span, spanContains } from './descriptor.js'
import { PREFIXED_KEY_BYTES_MAX, VALUE_BYTES_MAX } from './limits.js'
import { DELETE, PUT, readWriteBlockHeader, unknownCommand } from './write-block.js'

/**
 * What a committed entry does to a range's state: a pure function of the state it reads (the view) and the payload, so
 * that every replica comes to the same result.
 *
 * Epoch and span are checked here, not when the entry was proposed: a split may lie between the two. A block either
 * applies whole or not at all; its neighbours in the entry are not affected. `confVersion` never rejects data.
 */

/** What applying may read. */
export interface ApplyView {
  readonly descriptor: Descriptor
}

/** `value` undefined deletes. It is a view of the payload: keep that unchanged for as long. */
export interface Write {
  readonly key: Key
  readonly value: Uint8Array | undefined
}

/** `written`: a version a command, in order. `epoch-mismatch`: nothing of the block was written; ask for the route. */
export type BlockResult =
  | { readonly kind: 'written'; readonly versions: readonly Version[] }
  | { readonly kind: 'epoch-mismatch' }

export interface AppliedEntry {
  /** In order; the last of a key wins. */
  readonly writes: readonly Write[]
  /** A result a block, in order. */
  readonly results: readonly BlockResult[]
}

const MISMATCH: BlockResult = { kind: 'epoch-mismatch' }

/**
 * Applies the payload of a command entry: its blocks in order, all written values getting `version`. Throws `CORRUPT`
 * when the payload is malformed, in which case none of it counts and the store must stop.
 */
export function applyEntry(view: ApplyView, payload: Uint8Array, version: Version): AppliedEntry {
  const { descriptor } = view
  const writes: Write[] = []
  const results: BlockResult[] = []
  const lengths = new ByteReader(payload)
  while (lengths.remaining > 0) {
    const length = lengths.u32()
    const block = new ByteReader(lengths.raw(length))
    const { epochVersion, count } = readWriteBlockHeader(block)
    const writesBefore = writes.length
    const within = readWrites(block, count, descriptor, writes)
    if (within && epochVersion === descriptor.epoch.version) {
      results.push({ kind: 'written', versions: new Array<Version>(count).fill(version) })
    } else {
      writes.length = writesBefore
      results.push(MISMATCH)
    }
  }
  return { writes, results }
}

/** Appends a block's commands to `writes`; returns whether all their keys lie within the span. */
function readWrites(block: ByteReader, count: number, span: Span, writes: Write[]): boolean {
  let within = true
  for (let i = 0; i < count; i++) {
    const kind = block.u8()
    if (kind !== PUT && kind !== DELETE) throw unknownCommand(kind)
    const key = block.key(PREFIXED_KEY_BYTES_MAX)
    if (!spanContains(span, key)) within = false
    writes.push({ key, value: kind === PUT ? block.bytes(VALUE_BYTES_MAX) : undefined })
  }
  block.end()
  return within
}
