import type { Descriptor, ReplicaType } from '@cordillera/ranges'
import { describe, expect, it } from 'vitest'
import { decideReplacement } from './replacement.js'

/** Replicas as `id@node type`. */
function range(...places: readonly string[]): Descriptor {
  const replicas = places.map((place) => {
    const [, replicaId, nodeId, type] = /^(\d+)@(\d+) (\w+)$/.exec(place)!
    return { replicaId: Number(replicaId), nodeId: Number(nodeId), type: type as ReplicaType }
  })
  return { rangeId: 7, start: 'a', end: null, epoch: { version: 1, confVersion: 1 }, replicas }
}

const goal = { replicaId: 2, nodeId: 4 }
const caughtUp = (): boolean => true
const behind = (): boolean => false

describe('the replacement of a replica', () => {
  it('adds a learner, waits for it, and swaps it in', () => {
    expect(decideReplacement(range('1@1 voter', '2@2 voter', '3@3 voter'), goal, caughtUp)).toEqual({ kind: 'add' })
    const added = range('1@1 voter', '2@2 voter', '3@3 voter', '9@4 learner')
    expect(decideReplacement(added, goal, behind)).toEqual({ kind: 'wait', reason: 'behind' })
    expect(decideReplacement(added, goal, caughtUp)).toEqual({
      kind: 'swap',
      changes: [
        { kind: 'promote', replicaId: 9, nodeId: 4 },
        { kind: 'remove', replicaId: 2, nodeId: 2 },
      ],
    })
    const joint = range('1@1 voter', '2@2 outgoing', '3@3 voter', '9@4 incoming')
    expect(decideReplacement(joint, goal, caughtUp)).toEqual({ kind: 'wait', reason: 'joint' })
    expect(decideReplacement(range('1@1 voter', '3@3 voter', '9@4 voter'), goal, behind)).toEqual({ kind: 'done' })
  })

  it('may be on the same node, and not where another voter is', () => {
    const here = { replicaId: 2, nodeId: 2 }
    const voters = ['1@1 voter', '2@2 voter', '3@3 voter']
    expect(decideReplacement(range(...voters), here, caughtUp)).toEqual({ kind: 'add' })
    expect(decideReplacement(range(...voters, '9@2 learner'), here, caughtUp).kind).toBe('swap')
    expect(decideReplacement(range(...voters), { replicaId: 2, nodeId: 3 }, caughtUp)).toEqual({ kind: 'impossible' })
  })

  it('of a learner makes a learner', () => {
    const here = { replicaId: 9, nodeId: 4 }
    expect(decideReplacement(range('1@1 voter', '9@4 learner'), here, caughtUp)).toEqual({ kind: 'add' })
    expect(decideReplacement(range('1@1 voter', '9@4 learner', '10@4 learner'), here, caughtUp)).toEqual({
      kind: 'swap',
      changes: [{ kind: 'remove', replicaId: 9, nodeId: 4 }],
    })
  })

  it('goes on when the successor is damaged, too: the newest learner takes the place of both', () => {
    const both = ['1@1 voter', '2@2 voter', '3@3 voter', '9@2 learner']
    const [voter, learner] = [
      { replicaId: 2, nodeId: 2 },
      { replicaId: 9, nodeId: 2 },
    ]
    expect(decideReplacement(range(...both), voter, behind).kind).toBe('wait')
    expect(decideReplacement(range(...both), learner, behind)).toEqual({ kind: 'add' })
    const third = range(...both, '10@2 learner')
    const isThird = (id: number): boolean => id === 10
    const removed = { kind: 'remove', replicaId: 9, nodeId: 2 }
    expect(decideReplacement(third, learner, isThird)).toEqual({ kind: 'swap', changes: [removed] })
    const promoted = { kind: 'promote', replicaId: 10, nodeId: 2 }
    expect(decideReplacement(third, voter, isThird)).toEqual({
      kind: 'swap',
      changes: [promoted, { kind: 'remove', replicaId: 2, nodeId: 2 }],
    })
    const swapped = range('1@1 voter', '10@2 voter', '3@3 voter', '9@2 learner')
    expect(decideReplacement(swapped, learner, isThird)).toEqual({ kind: 'swap', changes: [removed] })
  })
})
