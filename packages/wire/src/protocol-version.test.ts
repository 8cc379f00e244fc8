import { createHash } from 'node:crypto'
import { CordilleraError } from '@cordillera/base'
import { type Message, sealEntry } from '@cordillera/raft-core'
import type { Descriptor } from '@cordillera/ranges'
import { expect, it } from 'vitest'
import { writeAnswer, writeAsk, writeAskFailed } from './ask-codec.js'
import { encodeBody } from './open-body.js'
import { writeMessage } from './raft-codec.js'
import type { RangeReply, RangeRequest } from './range-call.js'
import { writeReply } from './range-reply-codec.js'
import { writeRequest } from './range-request-codec.js'
import { PROTOCOL_VERSION, RecordKind } from './record.js'
import { writeSnapshotMessage } from './snapshot-codec.js'
import type { SnapshotMessage } from './snapshot-message.js'
import { framesOf } from './testing/frames.js'

/**
 * The hash of one sample of every record, by protocol version. When a layout changes, PROTOCOL_VERSION counts up and a
 * line is added; a line that is there never changes.
 */
const hashes: Readonly<Record<number, string>> = {
  1: 'ec125d5cdaf592b8552f4c420cdfc606',
  2: '7a93e6e19a63aea641b9160243d223f7',
  3: '6e501db0549b007253e4c4b8b2e9df93',
  4: '16c57ea061ab020b7e56fd3e5025c2ce',
  5: 'b2e0de6deb8c829b703fb84c4b79643d',
  6: 'b82dd90c1362706c29ce3d1e88ad8b8f',
  7: 'e035ac1ae0292290050e0b18f2dc00e9',
}

const to = { from: 1, to: 300, term: 70_000 }
const committed = { commitIndex: 6, commitTerm: 7 }
const messages: Message[] = [
  { kind: 'vote-request', ...to, pre: true, lastIndex: 5, lastTerm: 4, ...committed, transfer: false },
  { kind: 'vote-request', ...to, pre: false, lastIndex: 5, lastTerm: 4, ...committed, transfer: true },
  { kind: 'vote-reply', ...to, ...committed, pre: true, granted: false },
  { kind: 'vote-reply', ...to, ...committed, pre: false, granted: true },
  {
    kind: 'append-request',
    ...to,
    prevIndex: 2 ** 33,
    prevTerm: 69_999,
    commitIndex: 3,
    entries: [sealEntry(70_000, 2 ** 33 + 1, 0, Buffer.alloc(20)), sealEntry(70_000, 2 ** 33 + 2, 1, Buffer.alloc(18))],
  },
  { kind: 'append-reply', ...to, accepted: true, index: 8, hintIndex: 9, hintTerm: 10 },
  { kind: 'heartbeat', ...to, commitIndex: 11, readRound: 12, quiesce: true },
  { kind: 'heartbeat-reply', ...to, readRound: 12 },
  { kind: 'timeout-now', ...to },
  { kind: 'snapshot-request', ...to },
]
const requests: RangeRequest[] = [
  { kind: 'write', rangeId: 7, count: 2, block: Buffer.from('block') },
  { kind: 'read', rangeId: 7, epochVersion: 3, at: 2 ** 40, byFollower: true, keys: ['', 'key\xff'] },
  {
    ...{ kind: 'scan', rangeId: 7, epochVersion: 3, at: 0, start: 'a', end: 'b', limit: 100, bytesMax: 1 << 20 },
    ...{ reverse: true, values: false, byFollower: false },
  },
  {
    ...{ kind: 'scan', rangeId: 7, epochVersion: 3, at: 0, start: 'a', end: null, limit: 100, bytesMax: 1 << 20 },
    ...{ reverse: false, values: true, byFollower: true },
  },
  { kind: 'index', rangeId: 7, at: 2 ** 41 },
  {
    ...{ kind: 'outcome', rangeId: 7, epochVersion: 3, at: 2 ** 41, home: 'key' },
    transaction: { nodeId: 3, incarnation: 70_000, sequence: 2 ** 40 },
  },
  { kind: 'timestamps', rangeId: 1, nodeId: 3, replicaId: 9, term: 70_000, count: 9, oldestSnapshot: 2 ** 41 },
] as const
const descriptor: Descriptor = {
  rangeId: 7,
  start: 'a',
  end: null,
  epoch: { version: 3, confVersion: 2 },
  replicas: (['voter', 'learner', 'incoming', 'outgoing'] as const).map((type, i) => ({
    replicaId: i + 1,
    nodeId: 2,
    type,
  })),
}
const replies: RangeReply[] = [
  { kind: 'written', outcomes: [5, 6] },
  { kind: 'written', outcomes: [5, -6, 0] },
  { kind: 'values', values: [undefined, { version: 9, value: Buffer.from('v') }] },
  { kind: 'scanned', entries: [{ key: 'k', version: 9, value: Buffer.from('v') }], more: true },
  ...(
    [
      'not-leader',
      'no-range',
      'epoch-mismatch',
      'overloaded',
      'lost',
      'closing',
      'snapshot-expired',
      'not-ready',
      'disk-full',
    ] as const
  ).map((reason): RangeReply => ({ kind: 'refused', reason, leader: 3, descriptors: [descriptor] })),
  { kind: 'timestamps', first: 2 ** 42, safePoint: 2 ** 41 },
  { kind: 'indexed', index: 2 ** 33 },
  { kind: 'decided', state: 'committed', version: 2 ** 41 },
  { kind: 'unknown' },
]

const stream = { streamId: 300 }
const snapshotMessages: SnapshotMessage[] = [
  { kind: 'snapshot-offer', ...stream, rangeId: 7, from: 8, to: 9, span: { start: 'a', end: 'b' } },
  { kind: 'snapshot-offer', ...stream, rangeId: 7, from: 8, to: 9, span: { start: '', end: null } },
  { kind: 'snapshot-chunk', ...stream, chunk: Buffer.from('chunk') },
  { kind: 'snapshot-cancelled', ...stream },
  { kind: 'snapshot-credit', ...stream, chunks: 4 },
  { kind: 'snapshot-ended', ...stream, outcome: 'installed' },
  { kind: 'snapshot-ended', ...stream, outcome: 'unwanted' },
  { kind: 'snapshot-ended', ...stream, outcome: 'failed' },
]

it('the protocol version is counted up whenever a layout changes', () => {
  const [frame] = framesOf((frames) => {
    const { out } = frames
    out.u8(RecordKind.ping).varint(1).u8(RecordKind.pong).varint(2)
    out.u8(RecordKind.life).varint(70_000).varint(3).u8(RecordKind.outdated).varint(0).text('no')
    for (const message of messages) writeMessage(out, 7, message)
    for (const request of requests) writeRequest(out, 1, request)
    for (const reply of replies) writeReply(frames, 1, reply)
    for (const message of snapshotMessages) writeSnapshotMessage(out, message)
    writeAsk(out, 1, 'report', encodeBody({ a: [1, 'b', null, 1.5] }))
    writeAnswer(out, 1, encodeBody(null))
    writeAskFailed(out, 1, new CordilleraError('CLOSED', { detail: 'no' }))
  }, 2 ** 40)
  const hash = createHash('sha256').update(frame!).digest('hex').slice(0, 32)
  expect(hashes[PROTOCOL_VERSION], `the layouts hash to ${hash}`).toBe(hash)
})
