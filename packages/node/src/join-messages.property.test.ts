import { CordilleraError } from '@cordillera/base'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { foundingDocument } from './founding.js'
import { decodeAnswer, decodeQuestion, encodeAnswer, encodeQuestion, type JoinAnswer } from './join-messages.js'

const hex = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes).toString('hex'))
const question = fc.record({
  token: hex,
  clusterId: fc.option(hex, { nil: undefined }),
  peerAddress: fc.string({ maxLength: 100 }),
  httpAddress: fc.string({ maxLength: 100 }),
  locality: fc.string({ maxLength: 100 }),
})
const node = { nodeId: 1, peerAddress: 'a:1', httpAddress: '', locality: '' }
const answers: JoinAnswer[] = [
  { kind: 'wait' },
  { kind: 'not-founder' },
  { kind: 'begin', member: { nodeId: 3, incarnation: 2, peerAddress: 'c:3' } },
  { kind: 'document', nodeId: 1, document: foundingDocument('0'.repeat(32), [node], 4) },
  {
    kind: 'member',
    nodeId: 4,
    document: foundingDocument('0'.repeat(32), [node], 4),
    member: { nodeId: 1, incarnation: 2, peerAddress: 'a:1' },
  },
]

describe('join messages', () => {
  it('are read as they were written', () => {
    fc.assert(
      fc.property(question, (asked) => {
        expect(decodeQuestion(encodeQuestion(asked))).toEqual(asked)
      }),
    )
    for (const answer of answers) expect(decodeAnswer(encodeAnswer(answer))).toEqual(answer)
  })

  it('are refused with a code when they are anything else', () => {
    const valid = fc.constantFrom(
      ...answers.map(encodeAnswer),
      encodeQuestion({ token: '0'.repeat(32), clusterId: undefined, peerAddress: '', httpAddress: '', locality: '' }),
    )
    const mutated = fc.tuple(valid, fc.nat(), fc.nat(255)).map(([bytes, at, byte]) => {
      const copy = Uint8Array.from(bytes)
      copy[at % copy.length] = byte
      return copy
    })
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array(),
          mutated,
          fc.json().map((json) => new TextEncoder().encode(json)),
        ),
        (bytes) => {
          for (const decode of [decodeQuestion, decodeAnswer]) {
            try {
              decode(bytes)
            } catch (error) {
              expect(error).toBeInstanceOf(CordilleraError)
              expect((error as CordilleraError).code).toBe('BAD_REQUEST')
            }
          }
        },
      ),
      { numRuns: 500 },
    )
    expect(() => decodeQuestion(new Uint8Array(20_000))).toThrow(CordilleraError)
  })
})

describe('a founding document', () => {
  it('covers the key space exactly once, with replicas of their own on every node', () => {
    const nodes = [1, 2, 3, 4, 5].map((nodeId) => ({ ...node, nodeId }))
    const { descriptors } = foundingDocument('0'.repeat(32), nodes, 100)
    expect(descriptors[0]!.start).toBe('')
    for (let i = 1; i < descriptors.length; i++) expect(descriptors[i]!.start).toBe(descriptors[i - 1]!.end)
    expect(descriptors.at(-1)!.end).toBeNull()
    const replicaIds = descriptors.flatMap(({ replicas }) => replicas.map(({ replicaId }) => replicaId))
    expect(new Set(replicaIds).size).toBe(replicaIds.length)
    for (const { replicas } of descriptors) expect(new Set(replicas.map(({ nodeId }) => nodeId)).size).toBe(3)
    expect(new Set(descriptors.map(({ rangeId }) => rangeId)).size).toBe(101)
  })
})
