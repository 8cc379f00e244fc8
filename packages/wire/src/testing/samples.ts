import { EntryType, type Message, sealEntry } from '@cordillera/raft-core'
import type { Descriptor } from '@cordillera/ranges'
import fc from 'fast-check'
import type { RangeReply, RangeRequest, RefusalReason } from '../range-call.js'
import type { SnapshotMessage } from '../snapshot-message.js'

/** Arbitrary well-formed messages of every kind. */
const id = fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }))
const number = fc.oneof(fc.nat(300), fc.maxSafeNat())
const term = fc.oneof(fc.nat(300), fc.nat(2 ** 47))
const key = fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes).toString('latin1'))
const value = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes))
const addressed = { from: id, to: id, term: number }
const versioned = fc.record({ version: id, value })

const appendRequest = fc
  .record({
    from: id,
    to: id,
    prevIndex: fc.nat(2 ** 40),
    prevTerm: term,
    commitIndex: number,
    payloads: fc.array(fc.tuple(value, fc.nat(3), fc.constantFrom(...Object.values(EntryType))), { maxLength: 8 }),
    above: fc.nat(5),
  })
  .map(({ payloads, above, ...rest }): Message => {
    let last = rest.prevTerm
    const entries = payloads.map(([payload, step, type], i) => {
      last += step
      return sealEntry(last, rest.prevIndex + 1 + i, type, Buffer.concat([Buffer.alloc(18), payload]))
    })
    return { kind: 'append-request', ...rest, term: last + above, entries }
  })

export const messages: fc.Arbitrary<Message> = fc.oneof(
  appendRequest,
  fc.record({
    kind: fc.constant('append-reply' as const),
    ...addressed,
    accepted: fc.boolean(),
    index: number,
    hintIndex: number,
    hintTerm: number,
  }),
  fc.record({
    kind: fc.constant('heartbeat' as const),
    ...addressed,
    commitIndex: number,
    readRound: number,
    quiesce: fc.boolean(),
  }),
  fc.record({ kind: fc.constant('heartbeat-reply' as const), ...addressed, readRound: number }),
  fc.record({
    kind: fc.constant('vote-request' as const),
    ...addressed,
    pre: fc.boolean(),
    lastIndex: number,
    lastTerm: number,
    commitIndex: number,
    commitTerm: number,
    transfer: fc.boolean(),
  }),
  fc.record({
    kind: fc.constant('vote-reply' as const),
    ...addressed,
    pre: fc.boolean(),
    granted: fc.boolean(),
    commitIndex: number,
    commitTerm: number,
  }),
  fc.record({ kind: fc.constantFrom('timeout-now' as const, 'snapshot-request' as const), ...addressed }),
)

export const requests: fc.Arbitrary<RangeRequest> = fc.oneof(
  fc
    .record({ kind: fc.constant('write' as const), rangeId: id, block: value })
    .chain((write) => fc.nat(write.block.length >> 1).map((count) => ({ ...write, count }))),
  fc.record({
    kind: fc.constant('read' as const),
    rangeId: id,
    epochVersion: number,
    at: number,
    byFollower: fc.boolean(),
    keys: fc.array(key, { maxLength: 10 }),
  }),
  fc.record({
    kind: fc.constant('outcome' as const),
    rangeId: id,
    epochVersion: number,
    at: number,
    home: key,
    transaction: fc.record({ nodeId: id, incarnation: number, sequence: number }),
  }),
  fc.record({
    kind: fc.constant('scan' as const),
    rangeId: id,
    epochVersion: number,
    at: number,
    byFollower: fc.boolean(),
    start: key,
    end: fc.option(key),
    reverse: fc.boolean(),
    limit: fc.nat(10_000),
    bytesMax: number,
    values: fc.boolean(),
  }),
  fc.record({
    kind: fc.constant('timestamps' as const),
    rangeId: id,
    nodeId: id,
    replicaId: number,
    term,
    count: number,
    oldestSnapshot: number,
  }),
  fc.record({ kind: fc.constant('index' as const), rangeId: id, at: number }),
)

const ofStream = { streamId: id }
const span = fc.record({ start: key, end: fc.option(key) })
export const snapshotMessages: fc.Arbitrary<SnapshotMessage> = fc.oneof(
  fc.record({ kind: fc.constant('snapshot-offer' as const), ...ofStream, rangeId: id, from: id, to: id, span }),
  fc.record({ kind: fc.constant('snapshot-chunk' as const), ...ofStream, chunk: value }),
  fc.record({ kind: fc.constant('snapshot-cancelled' as const), ...ofStream }),
  fc.record({ kind: fc.constant('snapshot-credit' as const), ...ofStream, chunks: number }),
  fc.record({
    kind: fc.constant('snapshot-ended' as const),
    ...ofStream,
    outcome: fc.constantFrom('installed' as const, 'unwanted' as const, 'failed' as const),
  }),
)

export const descriptors: fc.Arbitrary<Descriptor> = fc.record({
  rangeId: id,
  start: key,
  end: fc.constant(null),
  epoch: fc.record({ version: number, confVersion: number }),
  replicas: fc
    .uniqueArray(fc.nat(500), { maxLength: 5 })
    .map((ids) => ids.map((n) => ({ replicaId: n + 1, nodeId: n + 2, type: REPLICA_TYPES[n % 4]! }))),
})

const REPLICA_TYPES = ['voter', 'learner', 'incoming', 'outgoing'] as const

const refused = fc.record({
  kind: fc.constant('refused' as const),
  reason: fc.constantFrom<RefusalReason>(
    ...(['not-leader', 'no-range', 'epoch-mismatch', 'overloaded', 'lost', 'closing'] as const),
    ...(['snapshot-expired', 'not-ready'] as const),
  ),
  leader: number,
  descriptors: fc.array(descriptors, { maxLength: 3 }),
})

/** A reply that fits the request. */
export function repliesTo(request: RangeRequest): fc.Arbitrary<RangeReply> {
  const others = fc.oneof(refused, fc.constant({ kind: 'unknown' as const }))
  switch (request.kind) {
    case 'write': {
      const { count } = request
      const outcome = fc.oneof(
        id,
        id.map((version) => -version),
        fc.constant(0),
      )
      const each = fc.array(outcome, { minLength: count, maxLength: count })
      const rising = fc.nat(2 ** 52).map((first) => Array.from({ length: count }, (_, i) => first + 1 + i))
      return fc.oneof(
        fc.oneof(each, rising).map((outcomes) => ({ kind: 'written' as const, outcomes })),
        others,
      )
    }
    case 'read': {
      const { length } = request.keys
      const values = fc.array(fc.option(versioned, { nil: undefined }), { minLength: length, maxLength: length })
      return fc.oneof(
        values.map((one) => ({ kind: 'values' as const, values: one })),
        others,
      )
    }
    case 'scan': {
      const entry = fc.record({ key, version: id, value })
      const entries = fc.array(entry, { maxLength: Math.min(request.limit, 10) })
      return fc.oneof(fc.record({ kind: fc.constant('scanned' as const), entries, more: fc.boolean() }), others)
    }
    case 'index':
      return fc.oneof(fc.record({ kind: fc.constant('indexed' as const), index: number }), others)
    case 'outcome': {
      const state = fc.constantFrom('absent' as const, 'pending' as const, 'committed' as const, 'aborted' as const)
      return fc.oneof(fc.record({ kind: fc.constant('decided' as const), state, version: number }), others)
    }
    case 'timestamps':
      return fc.oneof(fc.record({ kind: fc.constant('timestamps' as const), first: id, safePoint: number }), others)
  }
}

export const calls = requests.chain((request) => repliesTo(request).map((reply) => ({ request, reply })))
