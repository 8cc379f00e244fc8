import { describe, expect, it } from 'vitest'
import { decodeReplicaChanges, encodeReplicaChanges, type ReplicaChange } from './replica-change.js'

const changes: ReplicaChange[] = [
  { kind: 'add-learner', replicaId: 2 ** 40, nodeId: 4 },
  { kind: 'promote', replicaId: 7, nodeId: 1 },
  { kind: 'remove', replicaId: 300, nodeId: 200 },
]

describe('changes of replicas', () => {
  it('are read as they were written, behind the room for a header', () => {
    expect(decodeReplicaChanges(encodeReplicaChanges(changes, 18).subarray(18))).toEqual(changes)
    expect(decodeReplicaChanges(encodeReplicaChanges([], 0))).toEqual([])
  })

  it('that are cut off, followed by something, of another format or kind, or without ids are refused', () => {
    const bytes = encodeReplicaChanges(changes, 0)
    const refused = expect.objectContaining({ code: 'CORRUPT' })
    for (let length = 0; length < bytes.length; length++) {
      expect(() => decodeReplicaChanges(bytes.subarray(0, length))).toThrow(refused)
    }
    expect(() => decodeReplicaChanges(Buffer.concat([bytes, Buffer.of(0)]))).toThrow(refused)
    expect(() => decodeReplicaChanges(Buffer.of(2, 0))).toThrow(refused)
    expect(() => decodeReplicaChanges(Buffer.of(1, 1, 3, 1, 1))).toThrow(refused)
    expect(() => decodeReplicaChanges(Buffer.of(1, 1, 0, 0, 1))).toThrow(refused)
    expect(() => decodeReplicaChanges(Buffer.of(1, 0xff, 0xff, 0xff, 0x7f))).toThrow(refused)
  })
})
