import { Buffer } from 'node:buffer'
import { CordilleraError } from '@cordillera/base'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { applyEntry } from './apply-entry.js'
import type { Descriptor } from './descriptor.js'
import { decodeDescriptor, encodeDescriptor } from './descriptor-codec.js'
import { decodeStoredValue, encodeStoredValue } from './stored-value.js'
import { type Command, checkWriteBlock, decodeWriteBlock, joinBlocks, WriteBlockBuilder } from './write-block.js'

const id = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER })
const counter = fc.nat(Number.MAX_SAFE_INTEGER)
const key = fc.uint8Array({ maxLength: 12 }).map((bytes) => Buffer.from(bytes).toString('latin1'))
const value = fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes))

const descriptor: fc.Arbitrary<Descriptor> = fc
  .record({
    rangeId: id,
    start: key,
    width: fc.option(key),
    epoch: fc.record({ version: counter, confVersion: counter }),
    replicas: fc.uniqueArray(
      fc.record({ replicaId: id, nodeId: id, type: fc.constantFrom('voter' as const, 'learner' as const) }),
      { maxLength: 5, comparator: (a, b) => a.nodeId === b.nodeId || a.replicaId === b.replicaId },
    ),
  })
  .map(({ width, ...rest }) => ({ ...rest, end: width === null ? null : `${rest.start}${width}\x00` }))

const command: fc.Arbitrary<Command> = fc.oneof(
  fc.record({ kind: fc.constant('put' as const), key, value }),
  fc.record({ kind: fc.constant('delete' as const), key }),
)
const block = fc.record({ epochVersion: fc.nat(3), commands: fc.array(command, { maxLength: 6 }) })

function encodeBlock({ epochVersion, commands }: { epochVersion: number; commands: Command[] }): Uint8Array {
  const builder = new WriteBlockBuilder(epochVersion, 1)
  for (const each of commands) each.kind === 'put' ? builder.put(each.key, each.value) : builder.delete(each.key)
  return builder.take()
}

/** Random bytes, and valid ones with a few bytes changed, cut off or repeated. */
function spoilt(valid: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Uint8Array> {
  const change = fc.record({ at: fc.nat(), byte: fc.nat(255) })
  const mutated = fc
    .record({ bytes: valid, changes: fc.array(change, { maxLength: 4 }), length: fc.option(fc.nat(200)) })
    .map(({ bytes, changes, length }) => {
      const copy = Buffer.from(bytes)
      for (const { at, byte } of changes) if (copy.length > 0) copy[at % copy.length] = byte
      return length === null ? copy : copy.subarray(0, length)
    })
  return fc.oneof(mutated, fc.uint8Array({ maxLength: 120 }))
}

/** Undefined when the bytes were refused as they must be; any other exception fails the test. */
function decoded<T>(decode: () => T): T | undefined {
  try {
    return decode()
  } catch (error) {
    if (error instanceof CordilleraError && error.code === 'CORRUPT') return undefined
    throw error
  }
}

const runs = { numRuns: 2000 }

describe('codecs', () => {
  it('of descriptors invert each other', () => {
    fc.assert(
      fc.property(descriptor, (d) => {
        expect(decodeDescriptor(encodeDescriptor(d))).toEqual(d)
      }),
    )
  })

  it('of write blocks invert each other', () => {
    fc.assert(
      fc.property(block, (b) => {
        const expected = { ...b, count: b.commands.length }
        expect(decodeWriteBlock(encodeBlock(b))).toEqual(expected)
      }),
    )
  })

  it('of descriptors refuse what is malformed, and accept only what they would write', () => {
    fc.assert(
      fc.property(spoilt(descriptor.map(encodeDescriptor)), (bytes) => {
        const d = decoded(() => decodeDescriptor(bytes))
        if (d !== undefined) expect(decodeDescriptor(encodeDescriptor(d))).toEqual(d)
      }),
      runs,
    )
  })

  it('of write blocks refuse what is malformed, and both checks agree', () => {
    fc.assert(
      fc.property(spoilt(block.map(encodeBlock)), (bytes) => {
        const b = decoded(() => decodeWriteBlock(bytes))
        const header = decoded(() => checkWriteBlock(bytes))
        expect(header?.count).toBe(b?.commands.length)
        expect(header?.epochVersion).toBe(b?.epochVersion)
      }),
      runs,
    )
  })

  it('of stored values refuse what is malformed', () => {
    const stored = fc.tuple(id, value).map(([version, bytes]) => encodeStoredValue(version, bytes))
    fc.assert(
      fc.property(spoilt(stored), (bytes) => {
        const v = decoded(() => decodeStoredValue(bytes))
        if (v !== undefined) expect(Buffer.compare(encodeStoredValue(v.version, v.value), bytes)).toBe(0)
      }),
      runs,
    )
  })
})

describe('applying an entry', () => {
  const view = {
    descriptor: { rangeId: 1, start: '\x20', end: '\xc0', epoch: { version: 1, confVersion: 0 }, replicas: [] },
  }

  it('equals a naive twin: filter whole blocks, then concatenate', () => {
    fc.assert(
      fc.property(fc.array(block, { maxLength: 5 }), (blocks) => {
        const { writes, results } = applyEntry(view, joinBlocks(0, blocks.map(encodeBlock)), 4)
        const accepted = blocks.filter(
          (b) => b.epochVersion === 1 && b.commands.every((c) => c.key >= '\x20' && c.key < '\xc0'),
        )
        expect(writes).toEqual(
          accepted.flatMap((b) =>
            b.commands.map((c) => ({ key: c.key, value: c.kind === 'put' ? c.value : undefined })),
          ),
        )
        expect(results).toEqual(
          blocks.map((b) =>
            accepted.includes(b) ? { kind: 'written', versions: b.commands.map(() => 4) } : { kind: 'epoch-mismatch' },
          ),
        )
      }),
      runs,
    )
  })

  it('refuses a malformed payload', () => {
    const payload = fc.array(block, { maxLength: 3 }).map((blocks) => joinBlocks(0, blocks.map(encodeBlock)))
    fc.assert(
      fc.property(spoilt(payload), (bytes) => {
        decoded(() => applyEntry(view, bytes, 1))
      }),
      runs,
    )
  })
})
