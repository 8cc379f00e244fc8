import { Buffer } from 'node:buffer'
import { describe, expect, it } from 'vitest'
import { applyEntry } from './apply-entry.js'
import type { Descriptor } from './descriptor.js'
import { checkWriteBlock, decodeWriteBlock, joinBlocks, WriteBlockBuilder } from './write-block.js'

const descriptor: Descriptor = {
  rangeId: 2,
  start: 'b',
  end: 'd',
  epoch: { version: 5, confVersion: 1 },
  replicas: [{ replicaId: 1, nodeId: 1, type: 'voter' }],
}
const HEADER_BYTES = 18
const corrupt = expect.objectContaining({ code: 'CORRUPT' })

function apply(...blocks: Uint8Array[]) {
  return applyEntry({ descriptor }, joinBlocks(HEADER_BYTES, blocks).subarray(HEADER_BYTES), 9)
}

function block(epochVersion: number, ...keys: string[]): Uint8Array {
  const builder = new WriteBlockBuilder(epochVersion)
  for (const key of keys) builder.put(key, Buffer.from(`value of ${key}`))
  return builder.take()
}

describe('a write block', () => {
  it('is read as it was written, and its builder starts again', () => {
    const builder = new WriteBlockBuilder(300)
    builder.put('b\xff', Buffer.from('x')).delete('c').put('c', Buffer.alloc(0))
    expect(builder.count).toBe(3)
    const length = builder.byteLength
    const bytes = builder.take(301)
    expect(bytes.length).toBe(length)
    expect(decodeWriteBlock(bytes)).toEqual({
      epochVersion: 300,
      count: 3,
      commands: [
        { kind: 'put', key: 'b\xff', value: Buffer.from('x') },
        { kind: 'delete', key: 'c' },
        { kind: 'put', key: 'c', value: Buffer.alloc(0) },
      ],
    })
    expect(checkWriteBlock(bytes)).toEqual({ epochVersion: 300, count: 3 })
    expect(builder.count).toBe(0)
    expect(decodeWriteBlock(builder.take())).toEqual({ epochVersion: 301, count: 0, commands: [] })
  })

  it('keeps what it was given although the source changes afterwards', () => {
    const value = Buffer.from('before')
    const bytes = new WriteBlockBuilder(1).put('k', value).take()
    value.fill(0)
    expect(decodeWriteBlock(bytes).commands[0]).toMatchObject({ value: Buffer.from('before') })
  })

  it('with an unknown command, too few or too many bytes is refused', () => {
    const bytes = block(5, 'b')
    const unknown = Buffer.from(bytes)
    unknown[2] = 3
    for (const broken of [unknown, bytes.subarray(0, -1), Buffer.concat([bytes, Buffer.of(0)]), Buffer.of(5)]) {
      expect(() => decodeWriteBlock(broken)).toThrow(corrupt)
      expect(() => checkWriteBlock(broken)).toThrow(corrupt)
    }
  })

  it('that claims more commands than it has bytes is refused', () => {
    const bytes = Buffer.of(5, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f)
    expect(() => decodeWriteBlock(bytes)).toThrow(corrupt)
    expect(() => checkWriteBlock(bytes)).toThrow(corrupt)
  })
})

describe('applying an entry', () => {
  it('writes the blocks in order, all with the version', () => {
    const deletes = new WriteBlockBuilder(5).delete('c').take()
    const { writes, results } = apply(block(5, 'b', 'c'), deletes)
    expect(writes.map(({ key, value }) => [key, value?.toString()])).toEqual([
      ['b', 'value of b'],
      ['c', 'value of c'],
      ['c', undefined],
    ])
    expect(results).toEqual([
      { kind: 'written', versions: [9, 9] },
      { kind: 'written', versions: [9] },
    ])
  })

  it('refuses a block of another epoch, older or newer, and it alone', () => {
    const { writes, results } = apply(block(4, 'b'), block(5, 'c'), block(6, 'b'))
    expect(writes.map(({ key }) => key)).toEqual(['c'])
    expect(results.map(({ kind }) => kind)).toEqual(['epoch-mismatch', 'written', 'epoch-mismatch'])
  })

  it('refuses a block of which one key lies outside of the span, whole', () => {
    for (const outside of ['a\xff', 'd', 'd\x00']) {
      const { writes, results } = apply(block(5, 'b'), block(5, 'b', outside, 'c'), block(5, 'c\xff'))
      expect(writes.map(({ key }) => key)).toEqual(['b', 'c\xff'])
      expect(results.map(({ kind }) => kind)).toEqual(['written', 'epoch-mismatch', 'written'])
    }
  })

  it('takes no notice of confVersion', () => {
    const moved = { ...descriptor, epoch: { version: 5, confVersion: 99 } }
    const payload = joinBlocks(0, [block(5, 'b')])
    expect(applyEntry({ descriptor: moved }, payload, 1).results[0]!.kind).toBe('written')
  })

  it('answers an empty block and an entry without blocks', () => {
    expect(apply(block(5))).toEqual({ writes: [], results: [{ kind: 'written', versions: [] }] })
    expect(apply()).toEqual({ writes: [], results: [] })
  })

  it('stops at a malformed payload', () => {
    const payload = joinBlocks(0, [block(5, 'b')])
    expect(() => applyEntry({ descriptor }, payload.subarray(0, -1), 1)).toThrow(corrupt)
    expect(() => applyEntry({ descriptor }, Buffer.concat([payload, Buffer.of(1)]), 1)).toThrow(corrupt)
    const surplus = joinBlocks(0, [Buffer.concat([block(5, 'b'), Buffer.of(1)])])
    expect(() => applyEntry({ descriptor }, surplus, 1)).toThrow(corrupt)
  })
})
