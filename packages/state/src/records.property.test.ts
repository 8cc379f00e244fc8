import { Buffer } from 'node:buffer'
import { CordilleraError } from '@cordillera/base'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  decodeReplicaRecord,
  decodeStoreRecord,
  encodeReplicaRecord,
  encodeStoreRecord,
  type ReplicaRecord,
} from './records.js'

const id = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER })
const state = {
  replicaId: id,
  appliedIndex: fc.nat(),
  appliedTerm: fc.nat(),
  memoryChecksum: fc.nat(2 ** 32 - 1),
  descriptor: fc.record({
    rangeId: id,
    start: fc.constant('a'),
    end: fc.constantFrom(null, 'b'),
    epoch: fc.record({ version: fc.nat(), confVersion: fc.nat() }),
    replicas: fc.constant([{ replicaId: 1, nodeId: 1, type: 'voter' as const }]),
  }),
}
const clears = fc.record({ start: fc.constant('a'), end: fc.constantFrom(null, 'c') })
const record: fc.Arbitrary<ReplicaRecord> = fc.oneof(
  fc.record({ kind: fc.constant('removed' as const), replicaId: id }),
  fc.record({ kind: fc.constant('live' as const), ...state }),
  fc.record({ kind: fc.constant('installing' as const), ...state, clears }),
)
const storeRecord = fc.record({ count: fc.nat(), digest: fc.nat(), safePoint: fc.maxSafeNat() })
const damage = fc.record({ at: fc.nat(), flip: fc.integer({ min: 1, max: 255 }) })

describe('records', () => {
  it('are read as they were written', () => {
    fc.assert(
      fc.property(record, storeRecord, (replica, store) => {
        expect(decodeReplicaRecord(encodeReplicaRecord(replica))).toEqual(replica)
        expect(decodeStoreRecord(encodeStoreRecord(store))).toEqual(store)
      }),
    )
  })

  it('are refused when any byte is altered or cut off', () => {
    fc.assert(
      fc.property(record, storeRecord, damage, (replica, store, { at, flip }) => {
        for (const [bytes, decode] of [
          [encodeReplicaRecord(replica), decodeReplicaRecord],
          [encodeStoreRecord(store), decodeStoreRecord],
        ] as const) {
          const altered = Buffer.from(bytes)
          altered[at % altered.length]! ^= flip
          for (const spoilt of [altered, bytes.subarray(0, at % bytes.length)]) {
            expect(() => decode(spoilt)).toThrow(expect.objectContaining({ code: 'CORRUPT' }))
          }
        }
      }),
    )
  })

  it('that are anything else are refused, and nothing but CORRUPT is thrown', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        for (const decode of [decodeReplicaRecord, decodeStoreRecord]) {
          try {
            decode(bytes)
          } catch (error) {
            if (!(error instanceof CordilleraError) || error.code !== 'CORRUPT') throw error
          }
        }
      }),
      { numRuns: 1000 },
    )
  })
})
