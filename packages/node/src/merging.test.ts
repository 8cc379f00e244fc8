import { ManualClock, silentLogger } from '@cordillera/base'
import type { AdminCommand, Descriptor } from '@cordillera/ranges'
import { describe, expect, it } from 'vitest'
import { LeaderCalls } from './leader-calls.js'
import { RangeMerging, type RangeMergingParts } from './range-merging.js'
import { ReplicaUpkeep, type ReplicaUpkeepParts } from './replica-upkeep.js'

/** What nodes do about merges, at moments that no cluster is easily brought to. */
const places = [1, 2, 3].map((nodeId) => ({ replicaId: 100 + nodeId, nodeId, type: 'voter' as const }))
const frozen: Descriptor = {
  ...{ rangeId: 50, start: 'm', end: null, epoch: { version: 3, confVersion: 1 }, replicas: places },
  merge: { kind: 'frozen', leftId: 60, attempt: 1 },
}
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** What becomes of replica 103, frozen, on node 3, when nobody else has its range and `holder` has its first key. */
async function destroyed(
  left: Partial<Descriptor> | undefined,
  holder: Partial<Descriptor>,
): Promise<readonly number[]> {
  const gone: number[] = []
  const state = { replicaId: 103, descriptor: frozen }
  const replica = { descriptor: frozen, state, core: { leader: 0 }, isMember: true, isRestoring: false }
  const parts = {
    nodeId: 3,
    replicas: {
      silenced: new Map(),
      replicas: () => [replica],
      replica: (id: number) => (id === 60 && left !== undefined ? { isMember: true, descriptor: left } : undefined),
      destroy: async ({ replicaId }: { replicaId: number }) => void gone.push(replicaId),
    },
    state: { replicas: new Map([[103, state]]), mayCreate: (id: number) => id !== 103 },
    finder: { ask: async () => [], findHolder: async () => holder },
    logger: silentLogger,
    replace: async () => {},
  }
  const upkeep = new ReplicaUpkeep(parts as unknown as ReplicaUpkeepParts)
  for (let round = 0; round < 10; round++) {
    upkeep.onRound()
    for (let i = 0; i < 5; i++) await turn()
  }
  return [...new Set(gone)]
}

describe('a frozen right that its store has missed the merge of', () => {
  const holder = { rangeId: 60, start: 'a', end: null, epoch: { version: 5, confVersion: 1 }, replicas: [] }

  it('is kept while its left has yet to merge with it here, or has yet to come to be here', async () => {
    const left = { rangeId: 60, lastMerge: 1, merge: { kind: 'absorbing', rightId: 50, attempt: 1 } } as const
    expect(await destroyed(left, holder)).toEqual([])
    expect(await destroyed({ rangeId: 60 }, holder)).toEqual([])
    const comes = { ...holder, replicas: [{ replicaId: 203, nodeId: 3, type: 'voter' as const }] }
    expect(await destroyed(undefined, comes)).toEqual([])
  })

  it('is destroyed once its left here is beyond the merge, or will never be here', async () => {
    expect(await destroyed({ rangeId: 60, lastMerge: 1 }, { ...holder, rangeId: 70, start: 'm' })).toEqual([103])
    expect(await destroyed(undefined, holder)).toEqual([103])
  })

  it('is kept as long as only older ranges are said to have its key', async () => {
    expect(await destroyed(undefined, { ...holder, epoch: { version: 3, confVersion: 9 } })).toEqual([])
  })
})

describe('a right that is at a merge of its own', () => {
  it('is not said to be thawed before a thaw has raised its version', async () => {
    const clock = new ManualClock()
    const proposed: AdminCommand[] = []
    const replica = {
      descriptor: {
        ...{ rangeId: 8, start: 'm', end: 'z', epoch: { version: 4, confVersion: 2 }, replicas: places },
        ...{ merge: { kind: 'absorbing', rightId: 9, attempt: 2 }, lastMerge: 2 },
      },
      core: { role: 'leader' },
      isUsable: true,
      proposeAdmin: (command: AdminCommand, reply: (reply: object) => void) => {
        proposed.push(command)
        reply({ kind: 'written' })
      },
    }
    const links = { isUp: () => true, ask: async () => 'aborted' }
    const calls = new LeaderCalls({ nodeId: 1, links, clock, nodesOf: () => [2], onLost: () => {} })
    const replicas = { replica: () => replica, confirm: async () => true }
    const parts = { nodeId: 1, replicas, state: {}, links, calls, finder: {}, logger: silentLogger }
    const merging = new RangeMerging(parts as unknown as RangeMergingParts)
    expect(await merging.onAsked('thaw', [8, 7, 1])).toBe('running')
    expect(proposed).toEqual([])
    const { merge: _, ...idle } = replica.descriptor
    Object.assign(replica, { descriptor: idle })
    expect(await merging.onAsked('thaw', [8, 7, 1])).toBe('thawed')
    expect(proposed).toEqual([{ kind: 'thaw', version: 4, leftId: 7, attempt: 1 }])
  })
})

describe('a left that was recovered from a replica that had never heard of an attempt', () => {
  const left: Descriptor = { ...frozen, rangeId: 60, start: 'a', end: 'm', epoch: { version: 7, confVersion: 1 } }

  function at(descriptor: Descriptor, others: Partial<RangeMergingParts> = {}) {
    const proposed: AdminCommand[] = []
    const { merge: _, ...idle } = descriptor
    const replica = {
      descriptor: descriptor.rangeId === 60 ? idle : descriptor,
      core: { role: 'leader' },
      isUsable: true,
      proposeAdmin: (command: AdminCommand, reply: (reply: object) => void) => {
        proposed.push(command)
        reply({ kind: 'written' })
      },
    }
    const asked: unknown[] = []
    const links = {
      isUp: () => true,
      ask: async (_node: number, method: string, body: unknown) => {
        asked.push([method, body])
        return 'aborted'
      },
    }
    const calls = new LeaderCalls({ nodeId: 1, links, clock: new ManualClock(), nodesOf: () => [2], onLost: () => {} })
    const replicas = {
      replica: (id: number) => (id === descriptor.rangeId ? replica : undefined),
      replicas: () => [replica],
      silenced: new Map(),
      confirm: async () => true,
    }
    const parts = { nodeId: 1, replicas, state: {}, links, calls, finder: {}, logger: silentLogger, ...others }
    return { merging: new RangeMerging(parts as unknown as RangeMergingParts), replica, proposed, asked }
  }

  it('refuses it in its log, and no attempt that it has had', async () => {
    const { merging, replica, proposed } = at(left)
    expect(await merging.onAsked('refuse-merge', [60, 50, 1])).toBe('running')
    expect(proposed).toEqual([{ kind: 'refuse', rightId: 50, attempt: 1 }])
    const merge = { kind: 'aborted' as const, rightId: 50, attempt: 1 }
    Object.assign(replica, { descriptor: { ...left, merge, lastMerge: 1 } })
    expect(await merging.onAsked('refuse-merge', [60, 50, 1])).toBe('aborted')
    Object.assign(replica, { descriptor: { ...left, merge: undefined, lastMerge: 1 } })
    expect(await merging.onAsked('refuse-merge', [60, 50, 1])).toBe('ended')
    expect(proposed.length).toBe(1)
  })

  it('is asked to by the right, once that has been frozen for long', async () => {
    const { merging, asked } = at(frozen)
    for (let round = 0; round < 8; round++) merging.onRound()
    await turn()
    expect(asked).toEqual([])
    merging.onRound()
    await turn()
    expect(asked).toEqual([['refuse-merge', [60, 50, 1]]])
  })

  it('a replica that is silenced is not counted as frozen', async () => {
    const silenced = new Map([
      [50, { reason: 'diverged', state: { descriptor: frozen, appliedIndex: 9, flushedIndex: 9 } }],
    ])
    const replicas = { replica: () => undefined, silenced }
    const { merging } = at(frozen, { replicas } as unknown as Partial<RangeMergingParts>)
    expect(await merging.onAsked('frozen', [50, 60, 1])).toBe(null)
    const whole = {
      replica: () => ({ state: { descriptor: frozen, appliedIndex: 9, flushedIndex: 9 } }),
      silenced: new Map(),
    }
    const sound = at(frozen, { replicas: whole } as unknown as Partial<RangeMergingParts>)
    expect(await sound.merging.onAsked('frozen', [50, 60, 1])).toBeInstanceOf(Uint8Array)
  })
})
