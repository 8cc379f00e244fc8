import { CordilleraError, ManualClock, silentLogger } from '@cordillera/base'
import { type Descriptor, encodeDescriptor, type RangeRecovery } from '@cordillera/ranges'
import { RecoveriesTable } from '@cordillera/system'
import { describe, expect, it } from 'vitest'
import { RangeRecovering, type RangeRecoveringParts } from './range-recovering.js'
import type { RecoveryWatch } from './recovery-watch.js'

/** Five voters; those on the nodes 3 to 5 are lost, and two are left, of which the first has more. */
const places = [1, 2, 3, 4, 5].map((nodeId) => ({ replicaId: 10 + nodeId, nodeId, type: 'voter' as const }))
const range: Descriptor = { rangeId: 7, start: 'f', end: 'p', epoch: { version: 5, confVersion: 3 }, replicas: places }

class World {
  readonly clock = new ManualClock()
  readonly lost = new Set([3, 4, 5])
  /** What the record holds, and how often it was written. */
  record: { value: readonly RangeRecovery[]; version: number } | undefined
  #replicaId = 100

  /** What a node says when it is asked; it is no voter's. */
  answer(nodeId: number): unknown {
    const ends = { lastTerm: 4, lastIndex: nodeId === 1 ? 21 : 20, commitIndex: 18, appliedIndex: 18 }
    const flags = { leads: false, takesPart: true, isDamaged: false }
    const replica = { nodeId, replicaId: 10 + nodeId, descriptor: encodeDescriptor(range), ...flags, ...ends }
    return {
      replica: nodeId === 9 ? undefined : replica,
      up: [1, 2, 9].filter((node) => !this.lost.has(node)),
      others: [],
    }
  }

  driver(): RangeRecovering {
    const table = {
      get: async () => this.record && { key: '', ...this.record },
      put: async (_key: string, value: unknown, ifVersion: number) => {
        if (ifVersion !== (this.record?.version ?? 0)) throw new CordilleraError('VERSION_MISMATCH')
        this.record = { value: value as readonly RangeRecovery[], version: ifVersion + 1 }
        return ifVersion + 1
      },
    }
    const parts = {
      ...{ nodeId: 9, clock: this.clock, logger: silentLogger, table: new RecoveriesTable(table) },
      replicas: { replica: () => undefined, silenced: new Map(), descriptors: () => [] },
      state: { replicas: new Map() },
      links: {
        isUp: (node: number) => node !== 9 && !this.lost.has(node),
        ask: async (node: number) => this.answer(node),
      },
      watch: { learn: () => {} } as unknown as RecoveryWatch,
      nodes: () => [1, 2, 3, 4, 5, 9],
      allocateReplicaIds: async () => ++this.#replicaId,
    }
    return new RangeRecovering(parts as unknown as RangeRecoveringParts)
  }

  /** The code that a try ends with, after as much time as it takes. */
  async try(driver: RangeRecovering, after = 0): Promise<string> {
    let code: string | undefined
    driver.recover(7, after).then(
      () => {
        code = 'done'
      },
      (error: CordilleraError) => {
        code = error.code
      },
    )
    for (let i = 0; i < 100 && code === undefined; i++) {
      await new Promise((resolve) => setImmediate(resolve))
      await this.clock.next()
    }
    return code ?? 'nothing'
  }
}

describe('a recovery is decided on', () => {
  it('once, for the survivor that has most, by whoever is first of several', async () => {
    const world = new World()
    const [first, second] = [world.driver(), world.driver()]
    const codes = await Promise.all([world.try(first), world.try(second)])
    expect(codes.sort()).toEqual(['UNAVAILABLE', 'VERSION_MISMATCH'])
    expect(world.record).toMatchObject({ version: 1, value: [{ survivor: 11, nodeId: 1, from: 5, version: 2 ** 20 }] })
    expect(await world.try(second)).toBe('UNAVAILABLE')
    expect(world.record!.version).toBe(1)
  })

  it('not again for the same word, also when the survivor is gone; for another one above it', async () => {
    const world = new World()
    await world.try(world.driver())
    world.lost.add(1)
    expect(await world.try(world.driver())).toBe('UNAVAILABLE')
    expect(world.record!.version).toBe(1)
    expect(await world.try(world.driver(), 2 ** 20)).toBe('UNAVAILABLE')
    expect(world.record!.value).toMatchObject([{ survivor: 11 }, { survivor: 12, nodeId: 2, version: 2 ** 21 }])
  })

  it('not again while the survivor is as it was, whoever asks', async () => {
    const world = new World()
    await world.try(world.driver())
    expect(await world.try(world.driver(), 2 ** 20)).toBe('UNAVAILABLE')
    expect(world.record!.version).toBe(1)
  })

  it('not when what was lost comes back while it is looked at', async () => {
    const world = new World()
    world.clock.after(1_000, () => world.lost.clear())
    expect(await world.try(world.driver())).toBe('CONFLICT')
    expect(world.record).toBeUndefined()
  })
})
