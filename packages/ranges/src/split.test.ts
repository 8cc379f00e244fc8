import { describe, expect, it } from 'vitest'
import { type AdminCommand, decodeAdminCommand, encodeAdminCommand, type SplitCommand } from './admin-command.js'
import type { Descriptor } from './descriptor.js'
import { splitDescriptor } from './split.js'

const range: Descriptor = {
  rangeId: 7,
  start: 'b',
  end: 'm',
  epoch: { version: 4, confVersion: 9 },
  replicas: [
    { replicaId: 11, nodeId: 1, type: 'voter' },
    { replicaId: 12, nodeId: 2, type: 'voter' },
    { replicaId: 15, nodeId: 3, type: 'learner' },
  ],
}
const split: SplitCommand = { kind: 'split', epoch: range.epoch, key: 'f', rangeId: 30, replicaIds: [41, 42, 43] }

describe('a split', () => {
  it('cuts the span at its key, raises the version of both halves, and puts a replica beside each', () => {
    expect(splitDescriptor(range, split)).toEqual({
      left: { ...range, end: 'f', epoch: { version: 5, confVersion: 9 } },
      right: {
        rangeId: 30,
        start: 'f',
        end: 'm',
        epoch: { version: 5, confVersion: 9 },
        replicas: [
          { replicaId: 41, nodeId: 1, type: 'voter' },
          { replicaId: 42, nodeId: 2, type: 'voter' },
          { replicaId: 43, nodeId: 3, type: 'learner' },
        ],
      },
    })
  })

  it('of the last range leaves a right half without an end', () => {
    expect(splitDescriptor({ ...range, end: null }, split)).toMatchObject({ left: { end: 'f' }, right: { end: null } })
  })

  it('is refused for another epoch, while replicas change, outside of the span, and without a replica for each', () => {
    const joint = range.replicas.map((place, i) => (i === 1 ? { ...place, type: 'outgoing' as const } : place))
    expect(splitDescriptor({ ...range, epoch: { version: 5, confVersion: 9 } }, split)).toBe('epoch')
    expect(splitDescriptor({ ...range, epoch: { version: 4, confVersion: 10 } }, split)).toBe('epoch')
    expect(splitDescriptor({ ...range, replicas: joint }, split)).toBe('joint')
    const replacing = [...range.replicas, { replicaId: 16, nodeId: 1, type: 'learner' as const }]
    expect(splitDescriptor({ ...range, replicas: replacing }, split)).toBe('joint')
    for (const key of ['a', 'b', 'm', 'z']) expect(splitDescriptor(range, { ...split, key })).toBe('key')
    const frozen = { ...range, merge: { kind: 'frozen' as const, leftId: 3, attempt: 1 } }
    expect(splitDescriptor(frozen, split)).toBe('merging')
    expect(splitDescriptor(range, { ...split, replicaIds: [41, 42] })).toBe('replicas')
    expect(splitDescriptor(range, { ...split, replicaIds: [41, 42, 41] })).toBe('replicas')
  })
})

describe('commands to a range', () => {
  it('are read as they were written, behind the room for a header', () => {
    const large = { ...split, key: '\x00\xff', rangeId: 2 ** 40, replicaIds: [2 ** 50, 1] }
    const all: AdminCommand[] = [
      ...[split, large, { ...split, replicaIds: [] }],
      { kind: 'begin', version: 5, rightId: 9, attempt: 2 ** 40 },
      { kind: 'freeze', version: 3, leftId: 8, attempt: 7 },
      { kind: 'thaw', version: 0, leftId: 8, attempt: 7 },
      {
        kind: 'merge',
        epoch: range.epoch,
        attempt: 7,
        right: { ...range, merge: { kind: 'frozen', leftId: 1, attempt: 7 } },
      },
      { kind: 'abort', attempt: 7 },
      { kind: 'refuse', rightId: 3, attempt: 7 },
      { kind: 'end', attempt: 8 },
    ]
    for (const command of all) {
      expect(decodeAdminCommand(encodeAdminCommand(command, 18).subarray(18))).toEqual(command)
    }
  })

  it('that are cut off, followed by something, of another format or kind, or without ids are refused', () => {
    const bytes = encodeAdminCommand(split, 0)
    const refused = expect.objectContaining({ code: 'CORRUPT' })
    for (let length = 0; length < bytes.length; length++) {
      expect(() => decodeAdminCommand(bytes.subarray(0, length))).toThrow(refused)
    }
    expect(() => decodeAdminCommand(Buffer.concat([bytes, Buffer.of(0)]))).toThrow(refused)
    expect(() => decodeAdminCommand(Buffer.concat([Buffer.of(2), bytes.subarray(1)]))).toThrow(refused)
    expect(() => decodeAdminCommand(Buffer.concat([Buffer.of(1, 9), bytes.subarray(2)]))).toThrow(refused)
    expect(() => decodeAdminCommand(encodeAdminCommand({ ...split, rangeId: 0 }, 0))).toThrow(refused)
    expect(() => decodeAdminCommand(encodeAdminCommand({ ...split, replicaIds: [0] }, 0))).toThrow(refused)
  })
})
