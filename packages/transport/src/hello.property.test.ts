import { CordilleraError } from '@cordillera/base'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  decodeAnswer,
  decodeHello,
  decodeProof,
  decodeQuestion,
  encodeAnswer,
  encodeFailure,
  encodeHello,
  encodeProof,
  encodeQuestion,
  encodeRefusal,
  HANDSHAKE_BYTES_MAX,
  type Hello,
  tryDecodeRefusal,
} from './hello.js'

const hellos: fc.Arbitrary<Hello> = fc.record({
  protocolVersion: fc.constant(3),
  role: fc.constantFrom('node', 'guest', 'client'),
  hasSecret: fc.boolean(),
  nonce: fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes)),
  clusterId: fc.string({ maxLength: 64 }),
  nodeId: fc.maxSafeNat(),
  incarnation: fc.maxSafeNat(),
  expectedNodeId: fc.maxSafeNat(),
  losses: fc.maxSafeNat(),
})

describe('the messages of a handshake', () => {
  it('are read as they were written, and are small', () => {
    fc.assert(
      fc.property(hellos, fc.string(), fc.string(), (hello, reason, detail) => {
        const bytes = encodeHello(hello)
        expect(decodeHello(bytes, 3)).toEqual(hello)
        expect(decodeHello(bytes, 4)).toEqual({ protocolVersion: 3, role: undefined })
        const refusal = encodeRefusal({ reason, detail })
        expect(tryDecodeRefusal(refusal)).toEqual({ reason, detail })
        expect(tryDecodeRefusal(bytes)).toBeUndefined()
        expect(Math.max(bytes.length, refusal.length)).toBeLessThan(HANDSHAKE_BYTES_MAX)
      }),
    )
    expect(encodeRefusal({ reason: 'cluster', detail: '€'.repeat(5000) }).length).toBeLessThan(HANDSHAKE_BYTES_MAX)
    const mac = Buffer.alloc(32, 7)
    expect(Buffer.compare(decodeProof(encodeProof('welcome', mac), 'welcome'), mac)).toBe(0)
    expect(Buffer.compare(decodeQuestion(encodeQuestion(mac)), mac)).toBe(0)
    expect(Buffer.compare(decodeAnswer(encodeAnswer(mac)), mac)).toBe(0)
    const failure = encodeFailure(new CordilleraError('CLOSED', { detail: 'gone' }))
    expect(() => decodeAnswer(failure)).toThrow(expect.objectContaining({ code: 'CLOSED', message: 'gone' }))
    expect(() => decodeAnswer(encodeFailure(new TypeError('secret')))).toThrow(
      expect.objectContaining({ code: 'INTERNAL' }),
    )
  })

  it('meet random and mutated bytes with CORRUPT and nothing else', () => {
    const decoders: ((bytes: Uint8Array) => unknown)[] = [
      (bytes) => decodeHello(bytes, 3),
      (bytes) => decodeProof(bytes, 'proof'),
      tryDecodeRefusal,
      decodeQuestion,
    ]
    const decode = (bytes: Uint8Array): void => {
      for (const decoder of decoders) {
        try {
          decoder(bytes)
        } catch (error) {
          expect(error).toBeInstanceOf(CordilleraError)
          expect((error as CordilleraError).code).toBe('CORRUPT')
        }
      }
    }
    fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), decode), { numRuns: 1000 })
    fc.assert(
      fc.property(hellos, fc.nat(), fc.nat(255), (hello, at, byte) => {
        const bytes = encodeHello(hello)
        bytes[at % bytes.length] = byte
        decode(bytes)
        decode(bytes.subarray(0, at % bytes.length))
      }),
      { numRuns: 1000 },
    )
  })
})
