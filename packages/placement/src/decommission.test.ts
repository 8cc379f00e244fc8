import { describe, expect, it } from 'vitest'
import { decide, explainRange } from './decide.js'
import { decideDecommission } from './decommission.js'
import { type SmallPicture, smallPicture } from './testing/small-picture.js'

const nodes = (count: number): string[] => Array.from({ length: count }, () => '')
const ask = (small: SmallPicture, nodeId = 1) => decideDecommission(smallPicture(small), nodeId)

describe('a decommission', () => {
  it('is possible while as many replicas fit on the other nodes', () => {
    expect(
      ask({
        nodes: nodes(4),
        ranges: [
          [1, 2, 3],
          [2, 3, 4],
        ],
      }),
    ).toEqual({
      verdict: 'possible',
      code: 'can-be-emptied',
      detail: '1 range has a replica on node 1; all of them can move',
      rangesLeft: 1,
    })
    expect(ask({ nodes: nodes(2), ranges: [[1]] }).verdict).toBe('possible')
    expect(ask({ nodes: nodes(3), ranges: [[1]], settings: { replicas: 1 } }).verdict).toBe('possible')
  })

  it('is blocked at once when it never could end, and says what would help', () => {
    expect(ask({ nodes: nodes(3), ranges: [[1, 2, 3]] })).toMatchObject({
      verdict: 'blocked',
      code: 'too-few-nodes',
      detail: '3 replicas on 3 nodes: add a node or lower the count',
    })
    expect(ask({ nodes: nodes(4), states: { 4: 'down' }, ranges: [[1, 2, 3]] })).toMatchObject({
      code: 'too-few-live-nodes',
      detail:
        'without node 1, 2 nodes take replicas and 3 are needed: bring back node 4, add a node, or lower the count',
    })
    expect(ask({ nodes: nodes(1), ranges: [[1]] }).code).toBe('last-node')
    expect(ask({ nodes: nodes(4), ranges: [] }, 9).code).toBe('unknown-node')
    expect(ask({ nodes: nodes(4), ranges: [[1, 2, 3]], settings: { placementEnabled: false } }).code).toBe(
      'placement-off',
    )
    const lost = ask({ nodes: nodes(6), states: { 2: 'dead', 3: 'dead' }, ranges: [[1, 2, 3]] })
    expect(lost).toMatchObject({ code: 'no-quorum', detail: expect.stringContaining('range 2 ') })
  })

  it('of two nodes counts the first one as gone', () => {
    const small: SmallPicture = { nodes: nodes(4), states: { 4: 'decommissioning' }, ranges: [[1, 2, 3]] }
    expect(ask(small)).toMatchObject({ verdict: 'blocked', code: 'too-few-nodes' })
  })

  it('of two nodes that both began, which never should be, takes no replica away', () => {
    const picture = smallPicture({
      nodes: nodes(4),
      states: { 3: 'decommissioning', 4: 'decommissioning' },
      ranges: [
        [1, 2, 3],
        [2, 3, 4],
      ],
    })
    const kinds = decide(picture).map(({ operator }) => operator.kind)
    expect(kinds).not.toContain('remove-replica')
    expect(explainRange(picture, 2).find(({ kind }) => kind === 'keep-replicas')).toMatchObject({ code: 'no-target' })
  })

  it('of a dead node is possible', () => {
    expect(ask({ nodes: nodes(4), states: { 1: 'dead' }, ranges: [[2, 1, 3]] }).verdict).toBe('possible')
  })

  it('that is under way says how much is left, and what keeps it', () => {
    const states = { 1: 'decommissioning' } as const
    expect(
      ask({
        nodes: nodes(4),
        states,
        ranges: [
          [2, 1, 3],
          [1, 2, 3],
        ],
      }).rangesLeft,
    ).toBe(2)
    expect(ask({ nodes: nodes(4), states: { ...states, 4: 'down' }, ranges: [[2, 1, 3]] }).code).toBe(
      'too-few-live-nodes',
    )
    expect(ask({ nodes: nodes(4), states, ranges: [[2, 3, 4]] })).toMatchObject({ verdict: 'done', code: 'empty' })
  })
})
