import { CordilleraError, ManualClock, silentLogger } from '@cordillera/base'
import { defaultReplicasLimits } from '@cordillera/replicas'
import { expect, it } from 'vitest'
import { foundingDocument } from './founding-document.js'
import { Whereabouts } from './whereabouts.js'

const clusterId = 'c'.repeat(32)
const nodes = [1, 2, 3].map((nodeId) => ({ nodeId, peerAddress: `old-${nodeId}:1`, httpAddress: '', locality: '' }))
const document = foundingDocument(clusterId, nodes, 4)

/** Nodes that have moved and cannot read the registry: a link is up where one dials where the other listens. */
class Town {
  readonly clock = new ManualClock()
  readonly nodes = new Map<number, Whereabouts>()
  readonly addresses = new Map<number, ReadonlyMap<number, string>>()
  readonly up = new Set<string>()
  asks = 0
  isRegistryWritten = false

  add(nodeId: number): Whereabouts {
    const identity = { clusterId, nodeId, incarnation: 2, document, replicasCreated: true }
    const limits = defaultReplicasLimits
    const log = { segmentBytes: 1 << 20, cacheBytesMax: 1 << 20 }
    const at = { peerAddress: `new-${nodeId}:1`, httpAddress: '', locality: '' }
    const unreachable = new CordilleraError('UNAVAILABLE')
    const node = new Whereabouts({
      config: { ...at, founding: { kind: 'none' }, replicas: limits, scrubMs: 1_000, log, version: '' },
      identity,
      router: {
        put: (_key, _value, _deadlineMs, done) =>
          void this.clock.after(5, () => done(this.isRegistryWritten ? undefined : unreachable, 1)),
        scan: () => Promise.reject(unreachable),
      },
      links: {
        ask: async (to, method, body) => {
          expect(method).toBe('places')
          this.asks++
          return this.nodes.get(to)!.onPlaces(structuredClone(body))
        },
        isUp: (other) => this.up.has(`${nodeId} ${other}`),
        setPeers: (addresses) => void this.addresses.set(nodeId, addresses),
      },
      transport: { ask: () => Promise.reject(unreachable) },
      clock: this.clock,
      logger: silentLogger,
      book: { keep: () => {} },
      remembered: [],
    })
    this.nodes.set(nodeId, node)
    return node
  }

  pass(ms: number): Promise<void> {
    return this.clock.run(new Promise<void>((resolve) => this.clock.after(ms, resolve)))
  }

  link(one: number, other: number): void {
    for (const [a, b] of [
      [one, other],
      [other, one],
    ] as const) {
      this.up.add(`${a} ${b}`)
      this.nodes.get(a)!.onLinkUp(b)
    }
  }
}

it('two nodes that moved, and that a third one knows, find each other although nobody can read the registry', async () => {
  const town = new Town()
  for (const nodeId of [1, 2, 3]) town.add(nodeId).start()
  expect(town.addresses.get(2)).toEqual(
    new Map([
      [1, 'old-1:1'],
      [3, 'old-3:1'],
    ]),
  )
  town.link(2, 1)
  town.link(3, 1)
  await town.pass(1)
  expect(town.addresses.get(3)?.get(2)).toBe('new-2:1')
  await town.pass(5_000)
  expect(town.addresses.get(2)?.get(3)).toBe('new-3:1')
  town.link(2, 3)
  await town.pass(5_000)
  // Nobody is at rest who cannot be found by others yet.
  const before = town.asks
  await town.pass(60_000)
  expect(town.asks).toBeGreaterThan(before)
  town.isRegistryWritten = true
  await town.pass(5_000)
  const { asks } = town
  await town.pass(60_000)
  expect(town.asks).toBe(asks)
  for (const node of town.nodes.values()) node.close()
})
