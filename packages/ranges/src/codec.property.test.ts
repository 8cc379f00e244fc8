import { Buffer } from 'node:buffer'
import { CordilleraError } from '@cordillera/base'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { applyEntry } from './apply-entry.js'
import type { Descriptor } from './descriptor.js'
import { decodeDescriptor, encodeDescriptor } from './descriptor-codec.js'
import { OperationMemory } from './operation-memory.js'
import { decodeStoredValue, encodeStoredValue } from './stored-value.js'
import {
  type Command,
  checkWriteBlock,
  decodeWriteBlock,
  holdsPut,
  joinBlocks,
  keyOfCommand,
  WriteBlockBuilder,
} from './write-block.js'
import { NO_SESSION, type Session } from './write-guard.js'

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

const sequence = fc.oneof(fc.nat(20), fc.nat(2 ** 51))
const guard = fc.record(
  {
    ifVersion: counter,
    ifPresent: fc.constant(true as const),
    idempotency: fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes)),
  },
  { requiredKeys: [] },
)
/** A guard that asks nothing is none. */
const guarded = fc.option(guard).map((each) => (each === null || Object.keys(each).length === 0 ? {} : { guard: each }))
const command: fc.Arbitrary<Command> = fc.oneof(
  fc
    .record({ kind: fc.constant('put' as const), sequence, key, value, guarded })
    .map(({ guarded: extra, ...rest }) => ({ ...rest, ...extra })),
  fc
    .record({ kind: fc.constant('delete' as const), sequence, key, guarded })
    .map(({ guarded: extra, ...rest }) => ({ ...rest, ...extra })),
)
const unguarded: fc.Arbitrary<Command> = command.map(({ guard: _, ...rest }) => rest as Command)
const session = fc.record({ nodeId: counter, incarnation: counter })
const block = fc.record({
  epochVersion: fc.nat(3),
  session,
  lowestOutstanding: sequence,
  commands: fc.array(command, { maxLength: 6 }),
})
const plainBlock = fc.record({
  epochVersion: fc.nat(3),
  session: fc.constant(NO_SESSION),
  lowestOutstanding: fc.constant(0),
  commands: fc.array(unguarded, { maxLength: 6 }),
})

interface Block {
  epochVersion: number
  session: Session
  lowestOutstanding: number
  commands: Command[]
}

function encodeBlock({ epochVersion, session: by, lowestOutstanding, commands }: Block): Uint8Array {
  const builder = new WriteBlockBuilder(epochVersion, by, 1)
  for (const each of commands) {
    if (each.kind === 'put') builder.put(each.sequence, each.key, each.value, each.guard)
    else builder.delete(each.sequence, each.key, each.guard)
  }
  return builder.take(lowestOutstanding)
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
        const keys = b.commands.map((_, i) => keyOfCommand(encodeBlock(b), i))
        expect(keys).toEqual(b.commands.map((each) => each.key))
      }),
    )
  })

  it('tell blocks with values from those without', () => {
    fc.assert(
      fc.property(block, (b) => {
        expect(holdsPut(encodeBlock(b))).toBe(b.commands.some(({ kind }) => kind === 'put'))
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
  const stamp = { timestamp: 4, ageMs: 0 }
  const newView = () => ({
    descriptor: { rangeId: 1, start: '\x20', end: '\xc0', epoch: { version: 1, confVersion: 0 }, replicas: [] },
    memory: new OperationMemory(),
    versionOf: () => 0,
  })

  it('equals a naive twin: filter whole blocks, then concatenate', () => {
    fc.assert(
      fc.property(fc.array(plainBlock, { maxLength: 5 }), (blocks) => {
        const { writes, results } = applyEntry(newView(), joinBlocks(0, stamp, blocks.map(encodeBlock)))
        const accepted = blocks.filter(
          (b) => b.epochVersion === 1 && b.commands.every((c) => c.key >= '\x20' && c.key < '\xc0'),
        )
        let version = stamp.timestamp
        const versions = new Map(blocks.map((b) => [b, b.commands.map(() => version++)]))
        expect(
          writes.map(({ key: written, value: bytes, version: at }) => ({ key: written, value: bytes, version: at })),
        ).toEqual(
          accepted.flatMap((b) =>
            b.commands.map((c, i) => ({
              key: c.key,
              value: c.kind === 'put' ? c.value : undefined,
              version: versions.get(b)![i],
            })),
          ),
        )
        expect(results).toEqual(
          blocks.map((b) =>
            accepted.includes(b) ? { kind: 'applied', outcomes: versions.get(b) } : { kind: 'epoch-mismatch' },
          ),
        )
      }),
      runs,
    )
  })

  it('comes to the same, memory included, wherever it runs', () => {
    fc.assert(
      fc.property(fc.array(block, { maxLength: 5 }), (blocks) => {
        const payload = joinBlocks(0, stamp, blocks.map(encodeBlock))
        const [here, there] = [newView(), newView()]
        expect(applyEntry(here, payload)).toEqual(applyEntry(there, payload, 0, true))
        expect(Buffer.compare(here.memory.encode(), there.memory.encode())).toBe(0)
      }),
    )
  })

  it('refuses a malformed payload', () => {
    const payload = fc.array(block, { maxLength: 3 }).map((blocks) => joinBlocks(0, stamp, blocks.map(encodeBlock)))
    fc.assert(
      fc.property(spoilt(payload), (bytes) => {
        decoded(() => applyEntry(newView(), bytes))
      }),
      runs,
    )
  })
})
