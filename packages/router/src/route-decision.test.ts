import type { NodeId } from '@cordillera/base'
import { expect, test } from 'vitest'
import {
  type Attempt,
  backoffBounds,
  type Candidates,
  chooseTarget,
  decideNext,
  type Outcome,
} from './route-decision.js'
import { refused } from './testing/recorded-calls.js'

/** Node 1 was asked, with two operations; node 4 is down. */
function attempt(parts: Partial<Attempt> = {}): Attempt {
  return {
    kind: 'write',
    count: 2,
    node: 1,
    asked: [],
    mayBeProposed: false,
    isRouteStale: false,
    isUp: (node) => node !== 4,
    ...parts,
  }
}

const written: Outcome = { kind: 'written', outcomes: [7, 8] }
const values: Outcome = { kind: 'values', values: [undefined, undefined] }
const scanned: Outcome = { kind: 'scanned', entries: [], more: false }

test.each<[string, Outcome, Partial<Attempt>, string]>([
  ['a written reply', written, {}, 'answer settle'],
  ['values', values, { kind: 'read' }, 'answer settle'],
  ['fewer values than asked', { kind: 'values', values: [undefined] }, { kind: 'read' }, 'answer settle'],
  ['a page', scanned, { kind: 'scan', count: 1 }, 'answer settle'],

  ['a write with a version too few', { kind: 'written', outcomes: [7] }, {}, 'may-be-proposed rotate'],
  ['a write answered with values', values, {}, 'may-be-proposed rotate'],
  ['a read answered with versions', written, { kind: 'read' }, 'retry rotate'],
  ['a read answered with no value at all', { kind: 'values', values: [] }, { kind: 'read' }, 'retry rotate'],
  ['a read answered with a value too many', values, { kind: 'read', count: 1 }, 'retry rotate'],
  ['a page that goes nowhere', { ...scanned, more: true }, { kind: 'scan' }, 'retry rotate'],

  ['a write whose connection was lost', { kind: 'lost' }, {}, 'may-be-proposed rotate'],
  ['a write of unknown end', { kind: 'unknown' }, {}, 'may-be-proposed rotate'],
  ['a read whose connection was lost', { kind: 'lost' }, { kind: 'read' }, 'retry rotate'],
  ['a read of unknown end', { kind: 'unknown' }, { kind: 'read' }, 'retry rotate'],
  ['a scan whose connection was lost', { kind: 'lost' }, { kind: 'scan' }, 'retry rotate'],
  [
    'a request for timestamps',
    { kind: 'timestamps', first: 9, safePoint: 3 },
    { kind: 'timestamps', count: 1 },
    'answer settle',
  ],
  ['timestamps answered with values', values, { kind: 'timestamps', count: 1 }, 'retry rotate'],
  ['timestamps lost with their connection', { kind: 'lost' }, { kind: 'timestamps' }, 'retry rotate'],
  ['an oracle that is not ready', refused('not-ready', 1), { kind: 'timestamps' }, 'retry stay'],
  ['a snapshot that is gone', refused('snapshot-expired', 1), { kind: 'scan' }, 'expired settle'],
  ['a write that did not leave', { kind: 'not-sent' }, {}, 'retry rotate'],

  ['not the leader, no hint', refused('not-leader'), {}, 'retry rotate'],
  ['not the leader, with a hint', refused('not-leader', 2), {}, 'retry follow 2'],
  ['a hint to a node asked just now', refused('not-leader', 2), { asked: [2] }, 'retry rotate'],
  ['a hint to a node that is down', refused('not-leader', 4), {}, 'retry rotate'],
  ['a hint to the node itself', refused('not-leader', 1), {}, 'retry stay'],
  ['a replaced proposal, with a hint', refused('lost', 3), {}, 'retry follow 3'],
  ['a replaced proposal, the same leader again', refused('lost', 1), {}, 'retry stay'],
  ['no replica there', refused('no-range'), {}, 'retry rotate'],
  ['no replica there, with a hint', refused('no-range', 2), {}, 'retry follow 2'],
  ['a closing node', refused('closing'), {}, 'retry rotate'],
  ['a closing node that still leads', refused('closing', 1), {}, 'retry rotate'],
  ['a closing node that gave its leadership away', refused('closing', 2), {}, 'retry follow 2'],
  ['an overloaded leader', refused('overloaded', 1), {}, 'retry stay'],
  ['an overloaded leader, with another hint', refused('overloaded', 2), {}, 'retry stay'],
  ['full disks', refused('disk-full', 1), {}, 'disk-full settle'],
  ['full disks, for a write that may be there', refused('disk-full', 1), { mayBeProposed: true }, 'retry stay'],
  ['a mismatch with news, from the leader', refused('epoch-mismatch', 1), { isRouteStale: true }, 'retry keep'],
  ['a mismatch with news, from another', refused('epoch-mismatch', 2), { isRouteStale: true }, 'retry follow 2'],
  ['a mismatch with news and no leader', refused('epoch-mismatch'), { isRouteStale: true }, 'retry rotate'],
  ['a mismatch without news', refused('epoch-mismatch', 1), {}, 'retry stay'],
])('%s', (_name, outcome, parts, expected) => {
  const { operations, next } = decideNext(outcome, attempt(parts))
  expect(`${operations} ${next.kind}${next.kind === 'follow' ? ` ${next.node}` : ''}`).toBe(expected)
})

test.each<[string, Partial<Candidates>, NodeId]>([
  ['this node first', {}, 2],
  ['the next one behind the last', { last: 2 }, 3],
  ['around the end', { last: 3 }, 1],
  ['nobody down while another is up', { last: 2, isUp: (node) => node === 1 }, 1],
  ['somebody down rather than nobody', { last: 2, isUp: () => false }, 3],
  ['whoever was not asked yet', { last: 2, asked: [2, 3] }, 1],
  ['asked and up before down', { last: 2, asked: [1, 2], isUp: (node) => node !== 3 }, 1],
  ['a learner only after voters', { last: 2, learner: 3 } as Partial<Candidates>, 1],
  ['the first one when this node has no replica', { self: 9 }, 1],
  ['the first one when the last asked has no replica', { last: 9 }, 1],
  ['nobody without replicas', { replicas: [] }, 0],
])('whom to ask: %s', (_name, parts, expected) => {
  const { learner } = parts as { learner?: NodeId }
  const replicas = [1, 2, 3].map((nodeId) => ({
    nodeId,
    replicaId: nodeId,
    type: nodeId === learner ? ('learner' as const) : ('voter' as const),
  }))
  expect(chooseTarget({ replicas, self: 2, last: 0, asked: [], isUp: () => true, ...parts })).toBe(expected)
})

test('pauses double up to their maximum', () => {
  const limits = { backoffMinMs: 10, backoffMaxMs: 250 }
  const pauses = [0, 1, 2, 3, 4, 5, 6, 1000]
  expect(pauses.map((n) => backoffBounds(n, limits).toMs)).toEqual([10, 20, 40, 80, 160, 250, 250, 250])
  for (const n of pauses) expect(backoffBounds(n, limits).fromMs).toBe(backoffBounds(n, limits).toMs / 2)
})
