import type { Descriptor, ReplicaPlace } from '@cordillera/ranges'
import { describe, expect, it } from 'vitest'
import { decideAddition, decideRemoval } from './resizing.js'

function rangeOf(...places: readonly (readonly [number, number, ReplicaPlace['type']])[]): Descriptor {
  const replicas = places.map(([replicaId, nodeId, type]) => ({ replicaId, nodeId, type }))
  return { rangeId: 7, start: 'a', end: 'b', epoch: { version: 1, confVersion: 1 }, replicas }
}

const always = (): boolean => true
const never = (): boolean => false

describe('one replica more', () => {
  it('comes as a learner, is promoted once it has caught up, and is done then', () => {
    expect(decideAddition(rangeOf([1, 1, 'voter']), 2, always)).toEqual({ kind: 'add' })
    const learning = rangeOf([1, 1, 'voter'], [5, 2, 'learner'])
    expect(decideAddition(learning, 2, never)).toEqual({ kind: 'wait', reason: 'behind' })
    const changes = [{ kind: 'promote', replicaId: 5, nodeId: 2 }]
    expect(decideAddition(learning, 2, always)).toEqual({ kind: 'change', changes })
    expect(decideAddition(rangeOf([1, 1, 'voter'], [5, 2, 'voter']), 2, never)).toEqual({ kind: 'done' })
  })

  it('waits for a change that is on its way', () => {
    expect(decideAddition(rangeOf([1, 1, 'outgoing'], [2, 3, 'incoming']), 2, always)).toMatchObject({
      reason: 'joint',
    })
    expect(decideAddition(rangeOf([1, 1, 'voter'], [5, 2, 'incoming']), 2, always)).toMatchObject({ reason: 'joint' })
  })
})

describe('one replica less', () => {
  it('is removed by somebody else than itself, never the last one, and not while others change', () => {
    const range = rangeOf([1, 1, 'voter'], [2, 2, 'voter'], [3, 3, 'learner'])
    expect(decideRemoval(range, 1, 1)).toEqual({ kind: 'hand-over' })
    const changes = [{ kind: 'remove', replicaId: 1, nodeId: 1 }]
    expect(decideRemoval(range, 1, 2)).toEqual({ kind: 'change', changes })
    expect(decideRemoval(range, 9, 1)).toEqual({ kind: 'done' })
    expect(decideRemoval(rangeOf([1, 1, 'voter'], [3, 3, 'learner']), 1, 1)).toEqual({ kind: 'impossible' })
    expect(decideRemoval(rangeOf([1, 1, 'voter'], [3, 3, 'learner']), 3, 1)).toMatchObject({ kind: 'change' })
    const three = rangeOf([1, 1, 'voter'], [2, 2, 'voter'], [3, 3, 'voter'], [4, 4, 'learner'])
    expect(decideRemoval(three, 3, 1, 3)).toEqual({ kind: 'impossible' })
    expect(decideRemoval(three, 3, 1, 2)).toMatchObject({ kind: 'change' })
    expect(decideRemoval(three, 3, 1, 1, (nodeId) => nodeId !== 2)).toEqual({ kind: 'unsafe' })
    expect(decideRemoval(three, 2, 1, 1, (nodeId) => nodeId !== 2)).toMatchObject({ kind: 'change' })
    expect(decideRemoval(three, 4, 1, 3)).toMatchObject({ kind: 'change' })
    expect(decideRemoval(rangeOf([1, 1, 'outgoing'], [2, 2, 'voter']), 1, 2)).toMatchObject({ reason: 'joint' })
  })
})
