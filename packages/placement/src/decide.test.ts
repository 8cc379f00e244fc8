import { describe, expect, it } from 'vitest'
import { decide, explainRange } from './decide.js'
import type { DecisionKind, Operator } from './operator.js'
import { NOW_MS, type SmallPicture, smallPicture } from './testing/small-picture.js'

const flat = (count: number): string[] => Array.from({ length: count }, () => '')
const decided = (small: SmallPicture): string[] =>
  decide(smallPicture(small)).map(({ operator, code }) => `${code}: ${textOf(operator)}`)

function textOf(operator: Operator): string {
  const { kind, rangeId } = operator
  switch (kind) {
    case 'split':
      return `split ${rangeId}${operator.key === undefined ? '' : ` at ${operator.key}`}`
    case 'merge':
      return `merge ${rangeId} with ${operator.rightId}`
    case 'add-replica':
      return `add ${rangeId} to ${operator.to}`
    case 'remove-replica':
      return `remove ${rangeId} from ${operator.from}`
    case 'replace-replica':
      return `replace ${rangeId} from ${operator.from} to ${operator.to}${operator.leads ? ' leading' : ''}`
    case 'transfer-leader':
      return `transfer ${rangeId} from ${operator.from} to ${operator.to}`
  }
}

function why(small: SmallPicture, rangeId: number, kind: DecisionKind): string {
  const { verdict, code } = explainRange(smallPicture(small), rangeId).find((answer) => answer.kind === kind)!
  return `${verdict} ${code}`
}

describe('the number of replicas', () => {
  it('grows with the nodes: two more for the third node, and none for the second', () => {
    expect(decided({ nodes: flat(1), ranges: [[1]] })).toEqual([])
    expect(decided({ nodes: flat(2), ranges: [[1]] })).toEqual([])
    expect(decided({ nodes: flat(3), ranges: [[1]] })).toEqual([
      expect.stringMatching(/^under-replicated: add 2 to [23]$/),
    ])
    expect(decided({ nodes: flat(3), ranges: [[1, 2]] })).toEqual(['under-replicated: add 2 to 3'])
  })

  it('does not become even when there is no node for one more', () => {
    const small: SmallPicture = { nodes: flat(3), states: { 3: 'down' }, ranges: [[1]] }
    expect(decided(small)).toEqual([])
    expect(why(small, 2, 'keep-replicas')).toBe('no no-target')
  })

  it('is kept when a node is dead, and not before: by one replacement', () => {
    const ranges = [[1, 2, 3]]
    expect(decided({ nodes: flat(4), states: { 3: 'down' }, ranges })).toEqual([])
    expect(decided({ nodes: flat(4), states: { 3: 'dead' }, ranges })).toEqual(['dead-node: replace 2 from 3 to 4'])
    const stuck: SmallPicture = { nodes: flat(3), states: { 3: 'dead' }, ranges }
    expect(decided(stuck)).toEqual([])
    expect(explainRange(smallPicture(stuck), 2)[0]).toEqual({
      kind: 'keep-replicas',
      verdict: 'no',
      code: 'no-target',
      detail: '2 of 3 nodes take replicas, 3 are needed a range, and none is free: add a node or lower the count',
    })
  })

  it('shrinks by the replica that is worth least, as long as a majority stays reachable', () => {
    const settings = { replicas: 3 }
    const nodes = ['rack=a', 'rack=a', 'rack=b', 'rack=c', 'rack=d']
    expect(decided({ nodes, settings, ranges: [[3, 1, 2, 4]] })).toEqual([
      expect.stringMatching(/^over-replicated: remove 2 from [12]$/),
    ])
    expect(decided({ nodes, settings, states: { 4: 'dead' }, ranges: [[3, 1, 2, 4]] })).toEqual([
      'over-replicated: remove 2 from 4',
    ])
  })

  it('shrinks by a silent replica when without another one there would be no majority', () => {
    const states = { 3: 'decommissioning', 4: 'down', 5: 'down' } as const
    expect(decided({ nodes: flat(6), states, ranges: [[1, 2, 3, 4, 5]] })).toEqual([
      expect.stringMatching(/^over-replicated: remove 2 from [45]$/),
    ])
  })

  it('changes nothing without a majority, and says what a person can do', () => {
    const small: SmallPicture = { nodes: flat(5), states: { 2: 'dead', 3: 'dead' }, ranges: [[1, 2, 3]] }
    expect(decided(small)).toEqual([])
    const [answer] = explainRange(smallPicture(small), 2)
    expect(answer).toMatchObject({ verdict: 'no', code: 'no-quorum' })
    expect(answer!.detail).toMatch(/1 of 3 voters .* range recover --unsafe/)
  })

  it('counts no learner: one that belongs to nothing under way is removed', () => {
    const ranges = [{ on: [1, 2, 3, 4], types: { 4: 'learner' as const } }]
    expect(decided({ nodes: flat(4), ranges })).toEqual(['stray-learner: remove 2 from 4'])
    const underWay: Operator[] = [{ kind: 'replace-replica', rangeId: 2, replicaId: 203, from: 3, to: 4, leads: false }]
    expect(decided({ nodes: flat(4), ranges, underWay })).toEqual([])
  })
})

describe('what is left alone', () => {
  it.each([
    ['joint', { on: [1, 2, 3, 4], types: { 3: 'outgoing' as const, 4: 'incoming' as const } }],
    ['no-leader', { on: [1, 2, 3], leader: 0 }],
  ])('a range that is %s', (code, range) => {
    const small: SmallPicture = { nodes: flat(4), states: { 2: 'dead' }, ranges: [range] }
    expect(decided(small)).toEqual([])
    expect(why(small, 2, 'keep-replicas')).toBe(`wait ${code}`)
  })

  it('a range with a replica on a node that is not in the picture', () => {
    const small: SmallPicture = { nodes: ['rack=a', 'rack=b', 'rack=c', 'rack=d'], ranges: [[1, 2, 99]] }
    expect(decided(small)).toEqual([])
    expect(why(small, 2, 'spread-replicas')).toBe('wait node-down')
  })

  it('a range below the limits, of which only the one counts when splits for load are off', () => {
    const detail = (splitLoadPerSec: number) =>
      explainRange(smallPicture({ nodes: flat(3), ranges: [[1, 2, 3]], settings: { splitLoadPerSec } }), 2).find(
        ({ kind }) => kind === 'split',
      )
    expect(detail(2_500)).toMatchObject({
      code: 'below-limits',
      detail: expect.stringMatching(/^\S+ MiB and 0 requests\/s are below the limits of 64 MiB and 2500 requests\/s$/),
    })
    expect(detail(Number.POSITIVE_INFINITY)).toMatchObject({
      code: 'below-limits',
      detail: expect.stringMatching(/^\S+ MiB are below the limit of 64 MiB; .* rangeSplitLoadPerSec is 0$/),
    })
  })

  it('everything, when placement is off', () => {
    const small: SmallPicture = {
      nodes: flat(4),
      states: { 2: 'dead' },
      ranges: [[1, 2, 3]],
      settings: { placementEnabled: false },
    }
    expect(decided(small)).toEqual([])
    expect(explainRange(smallPicture(small), 2)).toMatchObject([{ verdict: 'no', code: 'placement-off' }])
    expect(explainRange(smallPicture(small), 77)).toMatchObject([{ verdict: 'no', code: 'unknown-range' }])
  })
})

describe('nodes that leave', () => {
  it('hand their leaderships over first, and then their replicas', () => {
    const small: SmallPicture = {
      nodes: flat(4),
      states: { 1: 'decommissioning' },
      ranges: [
        [1, 2, 3],
        [2, 1, 3],
      ],
    }
    expect(decided(small)).toEqual(['decommission: replace 3 from 1 to 4', 'decommission: transfer 2 from 1 to 3'])
  })

  it('take the only voter along by a replacement that leads', () => {
    const small: SmallPicture = { nodes: flat(2), states: { 1: 'decommissioning' }, ranges: [[1]] }
    expect(decided(small)).toEqual(['decommission: replace 2 from 1 to 2 leading'])
  })

  it('keep their replicas while they drain, and are given none', () => {
    const small: SmallPicture = { nodes: flat(4), states: { 1: 'draining', 4: 'draining' }, ranges: [[1, 2, 3]] }
    expect(decided(small)).toEqual(['drain: transfer 2 from 1 to 2'])
    const behind: SmallPicture = { ...small, ranges: [{ on: [1, 2, 3], behind: [2] }] }
    expect(decided(behind)).toEqual(['drain: transfer 2 from 1 to 3'])
  })
})

describe('failure domains', () => {
  it('are told apart from the outside in', () => {
    const nodes = ['region=a,rack=1', 'region=a,rack=2', 'region=a,rack=3', 'region=b,rack=1', 'region=b,rack=1']
    expect(decided({ nodes, ranges: [[1, 2, 3]] })).toEqual([
      expect.stringMatching(/^failure-domain: replace 2 from [23] to [45]$/),
    ])
    expect(decided({ nodes, ranges: [[1, 2, 4]] })).toEqual([])
  })

  it('that do not exist are not missed', () => {
    const small: SmallPicture = { nodes: ['rack=a', 'rack=a', 'rack=a'], ranges: [[1, 2, 3]] }
    expect(decided(small)).toEqual([])
    expect(why(small, 2, 'spread-replicas')).toBe('no well-spread')
  })
})

describe('balance', () => {
  it('fills a node that is new, a few at a time', () => {
    const ranges = Array.from({ length: 12 }, (_, i) => [1 + (i % 3), 1 + ((i + 1) % 3), 1 + ((i + 2) % 3)])
    const moves = decided({ nodes: flat(4), ranges })
    expect(moves).toHaveLength(2)
    for (const move of moves) expect(move).toMatch(/^replica-count: replace \d+ from [123] to 4$/)
  })

  it('waits for repairs', () => {
    const ranges = Array.from({ length: 12 }, () => [1, 2, 3])
    const small: SmallPicture = { nodes: flat(5), states: { 3: 'dead' }, ranges }
    for (const move of decided(small)) expect(move).toMatch(/^(dead-node|leader-count)/)
    expect(why(small, 13, 'keep-replicas')).toBe('wait enough-under-way')
    expect(why(small, 13, 'balance-replicas')).toBe('wait repairs-first')
  })

  it('waits for repairs although there would be room: all senders of what is missing are busy', () => {
    const lost = Array.from({ length: 12 }, () => [1, 2, 3])
    const others = Array.from({ length: 12 }, (_, i) => [4 + (i % 3), 4 + ((i + 1) % 3), 4 + ((i + 2) % 3)])
    const ranges = [...lost, ...others]
    const replacements = (small: SmallPicture) => decided(small).filter((text) => text.includes('replace'))
    for (const text of replacements({ nodes: flat(8), states: { 3: 'dead' }, ranges }))
      expect(text).toMatch(/^dead-node/)
    expect(replacements({ nodes: flat(8), ranges }).length).toBeGreaterThan(0)
  })

  it('evens out leaderships, and counts those on their way', () => {
    const ranges = Array.from({ length: 6 }, () => [1, 2, 3])
    expect(decided({ nodes: flat(3), ranges })).toHaveLength(4)
    const underWay = [2, 3, 4, 5].map(
      (rangeId): Operator => ({ kind: 'transfer-leader', rangeId, from: 1, to: rangeId % 2 === 0 ? 2 : 3 }),
    )
    expect(decided({ nodes: flat(3), ranges, underWay })).toEqual([])
  })

  it('evens out load although leaderships are even', () => {
    const range = (on: number[], readsPerSec: number) => ({ on, readsPerSec })
    const ranges = [
      range([1, 2, 3], 900),
      range([1, 2, 3], 800),
      range([2, 3, 1], 100),
      range([2, 3, 1], 100),
      range([3, 1, 2], 100),
      range([3, 1, 2], 100),
    ]
    expect(decided({ nodes: flat(3), ranges })[0]).toMatch(/^load: transfer [23] from 1 to [23]$/)
  })

  it('moves a replica for load where no voter can take it over', () => {
    const ranges = [1, 2, 3, 1, 2, 3].map((first) => ({
      on: [first, 1 + (first % 3), 1 + ((first + 1) % 3)],
      readsPerSec: 1000,
    }))
    const cold = Array.from({ length: 6 }, (_, i) => [4 + (i % 3), 4 + ((i + 1) % 3), 4 + ((i + 2) % 3)])
    const moves = decided({ nodes: flat(6), ranges: [...ranges, ...cold] })
    expect(moves.length).toBeGreaterThan(0)
    for (const move of moves) expect(move).toMatch(/^load: replace [2-7] from [123] to [456] leading$/)
  })

  it('does not move the largest range either when what is beside it cannot move', () => {
    const range = (on: number[], readsPerSec: number, behind: number[] = []) => ({ on, readsPerSec, behind })
    const ranges = (behind: number[]) => [
      range([1, 2, 3], 8000),
      range([1, 2, 3], 3000, behind),
      range([2, 3, 1], 2000),
      range([3, 1, 2], 2000),
    ]
    const settings = { splitLoadPerSec: 1e9 }
    expect(decided({ nodes: flat(3), settings, ranges: ranges([2, 3]) })).toEqual([])
    expect(decided({ nodes: flat(3), settings, ranges: ranges([3]) })[0]).toBe('load: transfer 3 from 1 to 2')
  })

  it('does not move the only load there is about when it is too little to care', () => {
    const ranges = Array.from({ length: 8 }, (_, i) => ({
      on: [i, i + 1, i + 2].map((at) => 1 + (at % 8)),
      readsPerSec: i === 0 ? 67 : 0,
    }))
    expect(
      decided({ nodes: flat(8), ranges: [...ranges, [1, 2, 3]] }).filter((text) => text.startsWith('load')),
    ).toEqual([])
  })

  it('does not move a hot range about, and says so', () => {
    const small: SmallPicture = {
      nodes: flat(3),
      ranges: [{ on: [1, 2, 3], readsPerSec: 10_000 }, [2, 3, 1], [3, 1, 2]],
      settings: { splitLoadPerSec: 1e9 },
    }
    expect(decided(small)).toEqual([])
    expect(why(small, 2, 'balance-leaders')).toBe('no hot-range')
  })
})

describe('splits', () => {
  const settings = { rangesMin: 100 }
  const one = (range: object): SmallPicture => ({ nodes: flat(1), settings, ranges: [{ on: [1], ...range }] })

  it('happen by size, and by load where a sampled key halves it', () => {
    expect(decided(one({ bytes: 65 << 20 }))).toEqual(['size: split 2'])
    expect(decided(one({ bytes: 64 << 20 }))).toEqual([])
    const key = 'default\x00m'
    expect(decided(one({ readsPerSec: 3000, loadSplit: { kind: 'key', key } }))).toEqual([`load: split 2 at ${key}`])
  })

  it.each([
    ['wait no-sample', { readsPerSec: 3000 }],
    ['no one-hot-key', { readsPerSec: 3000, loadSplit: { kind: 'one-hot-key', key: 'default\x00k' } }],
    ['no below-limits', { readsPerSec: 100 }],
    ['no system-range', { rangeId: 1, bytes: 1 << 30 }],
    ['wait no-leader', { bytes: 1 << 30, leader: 0 }],
  ])('%s', (expected, range) => {
    expect(decided(one(range))).toEqual([])
    expect(why(one(range), 'rangeId' in range ? range.rangeId : 2, 'split')).toBe(expected)
  })
})

describe('merges', () => {
  const cold = (on: number[], rest: object = {}) => ({ on, bytes: 1 << 20, ...rest })
  const nodes = flat(3)

  it('join small, cold neighbours on the same nodes', () => {
    const small: SmallPicture = { nodes, ranges: [cold([1, 2, 3]), cold([2, 3, 1])] }
    expect(decided(small)).toEqual(['small-and-cold: merge 2 with 3'])
    expect(why(small, 3, 'merge')).toBe('no no-right-neighbour')
  })

  it('bring the right neighbour to the nodes of the left one first, its leader last', () => {
    const six = (right: number[]): SmallPicture => ({ nodes: flat(6), ranges: [cold([1, 2, 3]), cold(right)] })
    expect(decided(six([4, 5, 6]))).toEqual([expect.stringMatching(/^align-for-merge: replace 3 from [56] to [123]$/)])
    expect(decided(six([4, 1, 2]))).toEqual([expect.stringMatching(/^align-for-merge: transfer 3 from 4 to [12]$/)])
    expect(decided(six([2, 1, 4]))).toEqual(['align-for-merge: replace 3 from 4 to 3'])
  })

  it.each([
    ['no too-large', {}, { bytes: 16 << 20 }, {}],
    ['no too-busy', {}, { loadMaxPerSec: 1300 }, {}],
    ['wait cooldown', {}, { lastChangedMs: NOW_MS - 299_000 }, {}],
    ['no pinned-boundary', {}, { startIsPinned: true }, {}],
    ['no keyspace-boundary', {}, { start: 'orders\x00' }, {}],
    ['no system-range', { rangeId: 1, start: '' }, { start: '\x01' }, {}],
    ['no few-ranges', {}, {}, { rangesMin: 2 }],
    ['wait no-leader', {}, { leader: 0 }, {}],
  ])('%s', (expected, left, right, settings) => {
    const small: SmallPicture = { nodes, settings, ranges: [cold([1, 2, 3], left), cold([1, 2, 3], right)] }
    expect(decided(small).filter((text) => text.includes('merge'))).toEqual([])
    expect(why(small, 'rangeId' in left ? 1 : 2, 'merge')).toBe(expected)
  })

  it('do not overlap, and wait for their turn', () => {
    const ranges = Array.from({ length: 5 }, () => cold([1, 2, 3]))
    const small: SmallPicture = { nodes: flat(3), ranges, settings: { mergesMax: 1, transfersPerNodeMax: 0 } }
    expect(decided(small)).toEqual(['small-and-cold: merge 2 with 3'])
    expect(why(small, 3, 'merge')).toBe('wait paired-elsewhere')
    expect(why(small, 4, 'merge')).toBe('wait enough-under-way')
  })
})

it('the leader of the system range, which decides, is where it is, however uneven leaderships are', () => {
  const ranges = [1, 10, 11, 12].map((rangeId) => ({ on: [1, 2, 3], rangeId, leader: 1 }))
  const small: SmallPicture = { nodes: flat(3), ranges, settings: { transfersPerNodeMax: 1 } }
  const moves = decided(small).filter((text) => text.startsWith('leader-count'))
  expect(moves.length).toBeGreaterThan(0)
  for (const move of moves) expect(move).not.toMatch(/transfer 1 /)
  expect(why(small, 1, 'balance-leaders')).toBe('no system-range')
})

it('every decision and every answer has a sentence', () => {
  const ranges = Array.from({ length: 12 }, (_, i) => ({ on: [1, 2, 3], bytes: i << 23, readsPerSec: i * 400 }))
  const picture = smallPicture({ nodes: ['a=1', 'a=1', 'a=2', 'a=2', 'a=3'], states: { 2: 'dead' }, ranges })
  for (const { detail } of decide(picture)) expect(detail).toMatch(/\w+ \w+/)
  for (const { descriptor } of picture.ranges) {
    for (const { detail } of explainRange(picture, descriptor.rangeId)) {
      expect(detail).toMatch(/\w+ \w+/)
      expect(detail).not.toMatch(/undefined|NaN/)
    }
  }
})
