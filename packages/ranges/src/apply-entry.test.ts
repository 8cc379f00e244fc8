import { Buffer } from 'node:buffer'
import type { Key, Version } from '@cordillera/base'
import { describe, expect, it } from 'vitest'
import { applyEntry } from './apply-entry.js'
import type { Descriptor } from './descriptor.js'
import { IDEMPOTENCY_MAX, IDEMPOTENCY_MS, OperationMemory } from './operation-memory.js'
import { OUTCOME_EXPIRED, OUTCOME_MEMORY_FULL, OUTCOME_REUSED, outcomeKind } from './outcome.js'
import { checkWriteBlock, decodeWriteBlock, joinBlocks, WriteBlockBuilder } from './write-block.js'
import type { Session } from './write-guard.js'

const descriptor: Descriptor = {
  rangeId: 2,
  start: 'b',
  end: 'd',
  epoch: { version: 5, confVersion: 1 },
  replicas: [{ replicaId: 1, nodeId: 1, type: 'voter' }],
}
const HEADER_BYTES = 18
const corrupt = expect.objectContaining({ code: 'CORRUPT' })

/** A range's state, as far as applying sees and changes it. */
class TestRange {
  descriptor = descriptor
  memory = new OperationMemory()
  readonly versions = new Map<Key, Version>()
  ageMs = 0
  #timestamp = 9

  versionOf(key: Key): Version {
    return this.versions.get(key) ?? 0
  }

  apply(...blocks: Uint8Array[]) {
    const stamp = { timestamp: this.#timestamp, ageMs: this.ageMs }
    const applied = applyEntry(this, joinBlocks(HEADER_BYTES, stamp, blocks).subarray(HEADER_BYTES))
    for (const { key, value, version } of applied.writes) this.versions.set(key, value === undefined ? 0 : version)
    this.#timestamp += 100
    return applied
  }

  /** The outcomes of the only block. */
  outcomes(block: Uint8Array): readonly number[] | string {
    const [result] = this.apply(block).results
    return result!.kind === 'applied' ? result!.outcomes : result!.kind
  }
}

function block(epochVersion: number, ...keys: string[]): Uint8Array {
  const builder = new WriteBlockBuilder(epochVersion)
  for (const key of keys) builder.put(0, key, Buffer.from(`value of ${key}`))
  return builder.take()
}

const session: Session = { nodeId: 3, incarnation: 2 }
const value = Buffer.from('v')

function numbered(lowest: number, sequences: readonly number[], by = session): Uint8Array {
  const builder = new WriteBlockBuilder(5, by)
  for (const sequence of sequences) builder.put(sequence, 'c', value)
  return builder.take(lowest)
}

describe('a write block', () => {
  it('is read as it was written, and its builder starts again', () => {
    const builder = new WriteBlockBuilder(300, session)
    const idempotency = Buffer.alloc(32, 7)
    builder.put(2 ** 40, 'b\xff', Buffer.from('x')).delete(3, 'c', { ifPresent: true })
    builder.put(9, 'c', Buffer.alloc(0), { ifVersion: 0, idempotency })
    expect(builder.count).toBe(3)
    const bytes = builder.take(2, 301)
    const header = { epochVersion: 300, count: 3, session, lowestOutstanding: 2 }
    expect(decodeWriteBlock(bytes)).toEqual({
      ...header,
      commands: [
        { kind: 'put', sequence: 2 ** 40, key: 'b\xff', value: Buffer.from('x') },
        { kind: 'delete', sequence: 3, key: 'c', guard: { ifPresent: true } },
        { kind: 'put', sequence: 9, key: 'c', value: Buffer.alloc(0), guard: { ifVersion: 0, idempotency } },
      ],
    })
    expect(checkWriteBlock(bytes)).toMatchObject(header)
    expect(builder.count).toBe(0)
    expect(decodeWriteBlock(builder.take())).toMatchObject({ epochVersion: 301, count: 0, commands: [] })
  })

  it('keeps what it was given although the source changes afterwards', () => {
    const source = Buffer.from('before')
    const bytes = new WriteBlockBuilder(1).put(1, 'k', source).take()
    source.fill(0)
    expect(decodeWriteBlock(bytes).commands[0]).toMatchObject({ value: Buffer.from('before') })
  })

  it('with an unknown command, too few or too many bytes is refused', () => {
    const bytes = block(5, 'b')
    const [unknown, flagged] = [Buffer.from(bytes), Buffer.from(bytes)]
    unknown[6] = 3
    flagged[6]! |= 32
    const broken = [unknown, flagged, bytes.subarray(0, -1), Buffer.concat([bytes, Buffer.of(0)]), Buffer.of(5)]
    for (const each of broken) {
      expect(() => decodeWriteBlock(each)).toThrow(corrupt)
      expect(() => checkWriteBlock(each)).toThrow(corrupt)
    }
  })

  it('that claims more commands than it has bytes is refused', () => {
    const bytes = Buffer.of(5, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0)
    expect(() => decodeWriteBlock(bytes)).toThrow(corrupt)
    expect(() => checkWriteBlock(bytes)).toThrow(corrupt)
  })
})

describe('applying an entry', () => {
  it('writes the blocks in order, each command with its version', () => {
    const deletes = new WriteBlockBuilder(5).delete(0, 'c').take()
    const { timestamp, commandCount, writes, results } = new TestRange().apply(block(5, 'b', 'c'), deletes)
    expect([timestamp, commandCount]).toEqual([9, 3])
    expect(writes.map(({ key, value: written, version }) => [key, written?.toString(), version])).toEqual([
      ['b', 'value of b', 9],
      ['c', 'value of c', 10],
      ['c', undefined, 11],
    ])
    expect(results).toEqual([
      { kind: 'applied', outcomes: [9, 10] },
      { kind: 'applied', outcomes: [11] },
    ])
  })

  it('refuses a block of another epoch, older or newer, and it alone; versions do not shift', () => {
    const { writes, results } = new TestRange().apply(block(4, 'b'), block(5, 'c'), block(6, 'b'))
    expect(writes).toMatchObject([{ key: 'c', version: 10 }])
    expect(results.map(({ kind }) => kind)).toEqual(['epoch-mismatch', 'applied', 'epoch-mismatch'])
  })

  it('refuses a block of which one key lies outside of the span, whole', () => {
    for (const outside of ['a\xff', 'd', 'd\x00']) {
      const { writes, results } = new TestRange().apply(block(5, 'b'), block(5, 'b', outside, 'c'), block(5, 'c\xff'))
      expect(writes.map(({ key }) => key)).toEqual(['b', 'c\xff'])
      expect(results.map(({ kind }) => kind)).toEqual(['applied', 'epoch-mismatch', 'applied'])
    }
  })

  it('takes no notice of confVersion', () => {
    const range = new TestRange()
    range.descriptor = { ...descriptor, epoch: { version: 5, confVersion: 99 } }
    expect(range.apply(block(5, 'b')).results[0]!.kind).toBe('applied')
  })

  it('answers an empty block and an entry without blocks', () => {
    const range = new TestRange()
    expect(range.apply(block(5))).toMatchObject({ writes: [], results: [{ kind: 'applied', outcomes: [] }] })
    expect(range.apply()).toMatchObject({ writes: [], results: [] })
  })

  it('stops at a malformed payload', () => {
    const stamp = { timestamp: 1, ageMs: 0 }
    const payload = joinBlocks(0, stamp, [block(5, 'b')])
    const surplus = joinBlocks(0, stamp, [Buffer.concat([block(5, 'b'), Buffer.of(1)])])
    const untimed = joinBlocks(0, { timestamp: 0, ageMs: 0 }, [])
    for (const broken of [payload.subarray(0, -1), Buffer.concat([payload, Buffer.of(1)]), surplus, untimed]) {
      expect(() => applyEntry(new TestRange(), broken)).toThrow(corrupt)
    }
  })
})

describe('a condition', () => {
  const put = (key: string, guard: object): Uint8Array => new WriteBlockBuilder(5).put(0, key, value, guard).take()

  it('on the version lets a write through or answers with the newest version', () => {
    const range = new TestRange()
    expect(range.outcomes(put('c', { ifVersion: 0 }))).toEqual([9])
    expect(range.outcomes(put('c', { ifVersion: 0 }))).toEqual([-9])
    expect(range.outcomes(put('c', { ifVersion: 8 }))).toEqual([-9])
    expect(range.outcomes(put('c', { ifVersion: 9 }))).toEqual([309])
    expect(range.outcomes(put('b', { ifVersion: 9 }))).toEqual([0])
    expect([309, -9, 0].map(outcomeKind)).toEqual(['written', 'mismatch', 'mismatch'])
  })

  it('on presence as well', () => {
    const range = new TestRange()
    expect(range.outcomes(put('c', { ifPresent: true }))).toEqual([0])
    range.apply(block(5, 'c'))
    expect(range.outcomes(put('c', { ifPresent: true }))).toEqual([209])
  })

  it('sees what earlier commands of the same entry did, blocks that were refused left out', () => {
    const range = new TestRange()
    range.apply(block(5, 'b'))
    const builder = new WriteBlockBuilder(5)
    builder.put(0, 'c', value, { ifVersion: 0 })
    builder.put(0, 'c', value, { ifVersion: 0 })
    builder.put(0, 'c', value, { ifVersion: 110 })
    builder.delete(0, 'c')
    builder.put(0, 'c', value, { ifPresent: true })
    builder.delete(0, 'b', { ifVersion: 9 })
    builder.put(0, 'b', value, { ifVersion: 0 })
    expect(range.apply(block(4, 'c'), builder.take()).results[1]).toEqual({
      kind: 'applied',
      outcomes: [110, -110, 112, 113, 0, 115, 116],
    })
  })
})

describe('an operation that comes again', () => {
  it('has the outcome it had, and writes nothing', () => {
    const range = new TestRange()
    expect(range.outcomes(numbered(1, [1, 2]))).toEqual([9, 10])
    const again = range.apply(numbered(1, [3, 2, 1]))
    expect(again.results).toEqual([{ kind: 'applied', outcomes: [109, 10, 9] }])
    expect(again.writes).toHaveLength(1)
  })

  it('in the same block as well', () => {
    expect(new TestRange().outcomes(numbered(1, [5, 5]))).toEqual([9, 9])
  })

  it('has the mismatch it had, although the condition would be met by now', () => {
    const range = new TestRange()
    const guarded = (): Uint8Array => new WriteBlockBuilder(5, session).put(1, 'c', value, { ifPresent: true }).take(1)
    expect(range.outcomes(guarded())).toEqual([0])
    range.apply(block(5, 'c'))
    expect(range.outcomes(guarded())).toEqual([0])
  })

  it('is refused for ever once the session has said that it was answered', () => {
    const range = new TestRange()
    range.apply(numbered(1, [1, 2, 3]))
    expect(range.outcomes(numbered(3, [4]))).toEqual([109])
    expect(range.outcomes(numbered(1, [1, 2, 3]))).toEqual([OUTCOME_EXPIRED, OUTCOME_EXPIRED, 11])
  })

  it('is refused when it never ran and lies below the floor: it may be on its way twice', () => {
    const range = new TestRange()
    range.apply(numbered(10, [10]))
    expect(range.outcomes(numbered(1, [7]))).toEqual([OUTCOME_EXPIRED])
  })

  it('is refused when it is of an earlier start of its node; a later start begins anew', () => {
    const range = new TestRange()
    const later = { nodeId: 3, incarnation: 3 }
    expect(range.outcomes(numbered(1, [1]))).toEqual([9])
    expect(range.outcomes(numbered(1, [1], later))).toEqual([109])
    expect(range.outcomes(numbered(1, [1, 2]))).toEqual([OUTCOME_EXPIRED, OUTCOME_EXPIRED])
    expect(range.outcomes(numbered(1, [1], { nodeId: 4, incarnation: 1 }))).toEqual([309])
  })

  it('of a block that was refused was not run, and runs', () => {
    const range = new TestRange()
    const stale = new WriteBlockBuilder(4, session).put(1, 'c', value).take(1)
    expect(range.outcomes(stale)).toBe('epoch-mismatch')
    expect(range.outcomes(numbered(1, [1]))).toEqual([109])
  })
})

describe('an idempotency id', () => {
  const put = (id: number, fingerprint = 0, key = 'c'): Uint8Array => {
    const idempotency = Buffer.alloc(32)
    idempotency.writeUInt32LE(id)
    idempotency.writeUInt32LE(fingerprint, 16)
    return new WriteBlockBuilder(5).put(0, key, value, { idempotency }).take()
  }

  it('brings the first outcome again, or says that it was used for something else', () => {
    const range = new TestRange()
    expect(range.outcomes(put(1))).toEqual([9])
    expect(range.outcomes(put(1))).toEqual([9])
    expect(range.outcomes(put(1, 1))).toEqual([OUTCOME_REUSED])
    expect(range.outcomes(put(2))).toEqual([309])
  })

  it('is remembered for ten minutes of the range’s age', () => {
    const range = new TestRange()
    range.ageMs = 1_000
    range.apply(put(1))
    range.ageMs = 1_000 + IDEMPOTENCY_MS - 1
    expect(range.outcomes(put(1))).toEqual([9])
    range.ageMs++
    expect(range.outcomes(put(1))).toEqual([209])
  })

  it('is refused, and nothing written, when too many are remembered', () => {
    const range = new TestRange()
    for (let id = 0; id < IDEMPOTENCY_MAX; id++) range.apply(put(id))
    const { writes, results } = range.apply(put(IDEMPOTENCY_MAX))
    expect([writes, results]).toEqual([[], [{ kind: 'applied', outcomes: [OUTCOME_MEMORY_FULL] }]])
    expect(range.outcomes(put(0))).toEqual([9])
    range.ageMs = IDEMPOTENCY_MS
    expect(outcomeKind((range.outcomes(put(IDEMPOTENCY_MAX)) as number[])[0]!)).toBe('written')
  })
})

describe('a range that is frozen for a merge', () => {
  it('takes nothing, and remembers the same however much of its log applies behind the freeze', () => {
    const range = new TestRange()
    range.ageMs = 1_000
    range.apply(block(5, 'b'))
    const before = range.memory.encode()
    range.descriptor = { ...descriptor, merge: { kind: 'frozen', leftId: 1, attempt: 1 } }
    range.ageMs = 9_000
    expect(range.outcomes(block(5, 'b'))).toBe('epoch-mismatch')
    expect(range.memory.encode()).toEqual(before)
  })
})
