import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type FoundingDocument, foundingDocument, isFoundingDocument } from './founding-document.js'

const nodesOf = (count: number) =>
  Array.from({ length: count }, (_, i) => ({ nodeId: i + 1, peerAddress: `n${i}:1`, httpAddress: '', locality: '' }))
const documents = fc
  .tuple(fc.integer({ min: 1, max: 7 }), fc.integer({ min: 1, max: 40 }))
  .map(([nodes, ranges]) => foundingDocument('0'.repeat(32), nodesOf(nodes), ranges))

/** As it comes back from JSON, to be spoiled. */
type Loose = { clusterId: unknown; nodes: Record<string, unknown>[]; descriptors: Record<string, unknown>[] }

function copyOf(document: FoundingDocument): Loose {
  return JSON.parse(JSON.stringify(document)) as Loose
}

const spoil: Record<string, (document: Loose) => void> = {
  'another kind of cluster id': (document) => {
    document.clusterId = 'cluster'
  },
  'no node': (document) => {
    document.nodes = []
  },
  'a node twice': (document) => {
    document.nodes.push(document.nodes[0]!)
  },
  'a node without an address': (document) => {
    delete document.nodes[0]!.peerAddress
  },
  'a range missing at the start': (document) => {
    document.descriptors.shift()
  },
  'a range missing at the end': (document) => {
    document.descriptors.pop()
  },
  'a range twice': (document) => {
    document.descriptors.splice(1, 0, document.descriptors[1]!)
  },
  'a gap': (document) => {
    document.descriptors[1]!.start = '\x02'
  },
  'no end of the system range': (document) => {
    document.descriptors = [{ ...document.descriptors[0]!, end: null }]
  },
  'a key that is no byte string': (document) => {
    const [, second, third] = document.descriptors
    second!.end = 'd\u1234'
    if (third !== undefined) third.start = second!.end
  },
  'a later epoch': (document) => {
    document.descriptors[0]!.epoch = { version: 2, confVersion: 1 }
  },
  'no replica': (document) => {
    document.descriptors[0]!.replicas = []
  },
  'a replica on a node that is not named': (document) => {
    document.descriptors[0]!.replicas = [{ replicaId: 999, nodeId: 99, type: 'voter' }]
  },
  'a replica id twice': (document) => {
    document.descriptors[1]!.replicas = document.descriptors[0]!.replicas
  },
  'two replicas on one node': (document) => {
    const [first] = document.descriptors[0]!.replicas as { replicaId: number }[]
    document.descriptors[0]!.replicas = [first, { ...first, replicaId: 999 }]
  },
  'a learner': (document) => {
    const [first] = document.descriptors[0]!.replicas as object[]
    document.descriptors[0]!.replicas = [{ ...first, type: 'learner' }]
  },
}

describe('a founding document', () => {
  it('is one after it went through JSON, for any number of nodes and ranges', () => {
    fc.assert(fc.property(documents, (document) => isFoundingDocument(copyOf(document))))
  })

  it.each(Object.entries(spoil))('is none with %s', (_what, change) => {
    fc.assert(
      fc.property(documents, (document) => {
        const spoiled = copyOf(document)
        change(spoiled)
        expect(isFoundingDocument(spoiled)).toBe(false)
      }),
      { numRuns: 20 },
    )
  })

  it('is nothing else', () => {
    fc.assert(fc.property(fc.jsonValue(), (value) => !isFoundingDocument(value)))
  })
})
