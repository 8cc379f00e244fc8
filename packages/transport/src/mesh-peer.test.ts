import { describe, expect, it } from 'vitest'
import type { Hello } from './hello.js'
import { decideAdmission, decideHello, MeshPeer } from './mesh-peer.js'

const own = { clusterId: 'c', nodeId: 2, incarnation: 7 }
const hello = (more: Partial<Hello> = {}): Hello => ({
  ...{ protocolVersion: 1, role: 'node', hasSecret: false, nonce: Buffer.alloc(16) },
  ...{ clusterId: 'c', nodeId: 1, incarnation: 3, expectedNodeId: 2, losses: 4, ...more },
})

describe('a hello', () => {
  const reasonOf = (more: Partial<Hello>, expected = 0): string | undefined =>
    decideHello(own, hello(more), expected)?.reason

  it('of a member of the cluster that means us is taken', () => {
    expect(reasonOf({})).toBeUndefined()
    expect(reasonOf({}, 1)).toBeUndefined()
    expect(reasonOf({ expectedNodeId: 0, incarnation: 4 })).toBeUndefined()
    // Whether it may come back is for the links to say, once it has proved itself.
    expect(reasonOf({ incarnation: 2 })).toBeUndefined()
  })

  it('of anyone else is refused with the reason', () => {
    expect(reasonOf({ clusterId: 'd' })).toBe('cluster')
    expect(reasonOf({ nodeId: 2 })).toBe('self')
    expect(reasonOf({ nodeId: 0 })).toBe('wrong-node')
    expect(reasonOf({ expectedNodeId: 3 })).toBe('wrong-node')
    expect(reasonOf({}, 3)).toBe('wrong-node')
    expect(reasonOf({ role: 'guest', clusterId: '' })).toBe('not-ready')
  })
})

describe('a connection that is about to be', () => {
  const connection = { socket: undefined as never, incarnation: 3, peerLosses: 4, sinceMs: 0 }
  const peerWith = (more: Partial<MeshPeer>): MeshPeer => Object.assign(new MeshPeer(1), more)
  const reasonOf = (peer: MeshPeer, more: Partial<Hello>, side: 'dialler' | 'acceptor', self = 2): string | undefined =>
    decideAdmission(self, peer, hello(more), side)?.reason

  it('is a duplicate of one that its sender still has, and replaces one that its sender has lost', () => {
    const peer = peerWith({ connection })
    expect(reasonOf(peer, { losses: 4 }, 'acceptor')).toBe('duplicate')
    expect(reasonOf(peer, { losses: 5 }, 'acceptor')).toBeUndefined()
    expect(reasonOf(peer, { losses: 5 }, 'dialler')).toBe('duplicate')
    expect(reasonOf(peer, { incarnation: 4, losses: 0 }, 'acceptor')).toBeUndefined()
    expect(reasonOf(peer, { incarnation: 4, losses: 0 }, 'dialler')).toBeUndefined()
    expect(reasonOf(peer, { incarnation: 2, losses: 9 }, 'acceptor')).toBe('stale-incarnation')
  })

  it('gives way to the own dial whose proof has left, at the higher node id alone', () => {
    const shaking = (isProofSent: boolean, incarnation = 3): MeshPeer =>
      peerWith({ handshake: { isProofSent, peer: hello({ incarnation }) } as never })
    expect(reasonOf(shaking(true), {}, 'acceptor')).toBe('duplicate')
    expect(reasonOf(shaking(false), {}, 'acceptor')).toBeUndefined()
    expect(reasonOf(shaking(true, 2), {}, 'acceptor')).toBeUndefined()
    expect(reasonOf(shaking(true), {}, 'dialler')).toBeUndefined()
    expect(decideAdmission(2, shaking(true), hello({ nodeId: 3 }), 'acceptor')).toBeUndefined()
  })
})
