import { CordilleraError, silentLogger } from '@cordillera/base'
import { expect, it } from 'vitest'
import type { FoundedIdentity } from './founding.js'
import { foundingDocument } from './founding-document.js'
import { decodeQuestion, encodeAnswer, type JoinAnswer } from './join-messages.js'
import { PeerFinder } from './peer-finder.js'

const clusterId = 'c'.repeat(32)
const nodes = [1, 2, 3].map((nodeId) => ({ nodeId, peerAddress: `old-${nodeId}:1`, httpAddress: '', locality: '' }))
const document = foundingDocument(clusterId, nodes, 4)
const identity: FoundedIdentity = { clusterId, nodeId: 1, incarnation: 5, document, replicasCreated: true }

/** The finder of node 1, told `--join a,b`, and what is answered at each of the two. */
function finder(): {
  readonly it: PeerFinder
  readonly answers: Map<string, JoinAnswer>
  readonly news: () => Promise<number>
} {
  const answers = new Map<string, JoinAnswer>()
  const it = new PeerFinder({
    transport: {
      ask: async (address, body) => {
        expect(decodeQuestion(body).clusterId).toBe(clusterId)
        const answer = answers.get(address)
        if (answer === undefined) throw new CordilleraError('UNAVAILABLE')
        return encodeAnswer(answer)
      },
    },
    logger: silentLogger,
    identity,
    addresses: ['a:1', 'b:1'],
    own: { peerAddress: 'new-1:1', httpAddress: '', locality: '' },
  })
  const news = async (): Promise<number> => {
    let count = 0
    await it.ask(() => count++)
    return count
  }
  return { it, answers, news }
}

const at = (nodeId: number, incarnation: number, peerAddress: string): JoinAnswer => {
  return { kind: 'begin', member: { nodeId, incarnation, peerAddress } }
}

it('finds members that moved at the addresses that were named, once each', async () => {
  const { it: found, answers, news } = finder()
  expect(await news()).toBe(0)
  expect(found.addressOf(2, 'old-2:1', 3)).toBe('old-2:1')
  answers.set('b:1', at(2, 4, 'new-2:1'))
  expect(await news()).toBe(1)
  expect(await news()).toBe(0)
  expect(found.addressOf(2, 'old-2:1', 3)).toBe('new-2:1')
  expect(found.addressOf(3, 'old-3:1', 0)).toBe('old-3:1')
})

it('believes the newer start, whether it answered or was registered', async () => {
  const { it: found, answers, news } = finder()
  answers.set('a:1', at(2, 4, 'new-2:1'))
  await news()
  expect(found.addressOf(2, 'newer-2:1', 5)).toBe('newer-2:1')
  answers.set('a:1', at(2, 3, 'stale-2:1'))
  expect(await news()).toBe(0)
  answers.set('a:1', at(2, 6, 'newest-2:1'))
  expect(await news()).toBe(1)
  expect(found.addressOf(2, 'newer-2:1', 5)).toBe('newest-2:1')
})

it('does not count itself, nor nodes that are no members yet', async () => {
  const { answers, news } = finder()
  answers.set('a:1', at(1, 5, 'new-1:1'))
  answers.set('b:1', { kind: 'wait' })
  expect(await news()).toBe(0)
})

it('believes what members say of members, the newest start first, and passes it on', () => {
  const { it: found } = finder()
  let news = 0
  const hear = (nodeId: number, incarnation: number, peerAddress: string): void =>
    found.hear([{ nodeId, incarnation, peerAddress }], () => news++)
  hear(2, 4, 'new-2:1')
  hear(2, 4, 'new-2:1')
  hear(2, 3, 'stale-2:1')
  hear(1, 9, 'somebody-else:1')
  expect(news).toBe(1)
  expect(found.addressOf(2, 'old-2:1', 3)).toBe('new-2:1')
  expect(found.places()).toEqual([
    { nodeId: 1, incarnation: 5, peerAddress: 'new-1:1' },
    { nodeId: 2, incarnation: 4, peerAddress: 'new-2:1' },
  ])
  for (const bad of [undefined, 7, [7], [{ nodeId: 2 }], [{ nodeId: 2, incarnation: 1, peerAddress: 5 }]]) {
    expect(() => found.hear(bad, () => {}), JSON.stringify(bad)).toThrow(/join message/)
  }
})
