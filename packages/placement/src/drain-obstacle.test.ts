import { describe, expect, it } from 'vitest'
import { drainObstacle } from './drain-obstacle.js'
import { type SmallPicture, smallPicture } from './testing/small-picture.js'

const nodes = (count: number): string[] => Array.from({ length: count }, () => '')
const why = (small: SmallPicture, nodeId = 1) => drainObstacle(smallPicture(small), nodeId)

describe('what keeps a node from being drained', () => {
  const ranges = [
    [1, 2, 3],
    [2, 1, 3],
  ]

  it('is a range that nobody else could lead', () => {
    expect(why({ nodes: nodes(3), ranges })).toBeUndefined()
    expect(why({ nodes: nodes(3), ranges, states: { 2: 'draining' } })).toBeUndefined()
    expect(why({ nodes: nodes(3), ranges, states: { 2: 'draining', 3: 'down' } })).toBe(
      'no other node could lead range 2, 3: undrain one that has a replica, bring one back, or add a replica first',
    )
  })

  it('is being alone', () => {
    expect(why({ nodes: nodes(1), ranges: Array.from({ length: 7 }, () => [1]) })).toContain('2, 3, 4, 5, 6 and 2 more')
  })

  it('is no range of which it has nothing, or is only a learner', () => {
    expect(why({ nodes: nodes(2), ranges: [[2], { on: [2, 1], types: { 1: 'learner' } }] })).toBeUndefined()
    expect(why({ nodes: nodes(2), ranges: [[2]] }, 9)).toBeUndefined()
  })
})
