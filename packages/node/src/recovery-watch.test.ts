import { silentLogger } from '@cordillera/base'
import type { Descriptor, RangeRecovery } from '@cordillera/ranges'
import { VERSIONS_PER_RECOVERY } from '@cordillera/ranges'
import { describe, expect, it } from 'vitest'
import { RecoveryWatch, type RecoveryWatchParts } from './recovery-watch.js'

/** What a node destroys of what was given up: range 7 was recovered; the lost ones had merged range 8 with it, or recovered twice. */
const places = [1, 2, 3].map((nodeId) => ({ replicaId: 10 + nodeId, nodeId, type: 'voter' as const }))
const range: Descriptor = { rangeId: 7, start: 'f', end: 'p', epoch: { version: 5, confVersion: 3 }, replicas: places }
const merged: Descriptor = { ...range, end: 'z', epoch: { version: 9, confVersion: 3 } }
const recovery: RangeRecovery = {
  ...{ rangeId: 7, start: 'f', end: 'p', from: 5, version: VERSIONS_PER_RECOVERY },
  ...{ survivor: 11, nodeId: 1, successor: 90 },
}
const again: RangeRecovery = {
  ...recovery,
  from: recovery.version,
  version: 2 * recovery.version,
  survivor: 90,
  successor: 95,
}
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** What becomes of a replica on this node when others say that they have `holders`. */
async function fateOf(replicaId: number, descriptor: Descriptor, holders: Descriptor[], recoveries = [recovery]) {
  const fate: string[] = []
  const state = { replicaId, descriptor }
  const replicas = {
    silenced: new Map(),
    replica: (id: number) => (id === descriptor.rangeId ? { state } : undefined),
    replicas: () => [{ state }],
    giveUp: () => fate.push('silenced'),
    destroy: async () => void fate.push('destroyed'),
    recover: async (_state: unknown, { successor }: RangeRecovery) => fate.push(`goes on as ${successor}`),
    onFatal: (error: unknown) => fate.push(String(error)),
  }
  const findHolder = async (key: string) =>
    holders.find(({ start, end }) => start <= key && (end === null || key < end))
  const parts = { nodeId: 2, replicas, links: {}, finder: { findHolder }, logger: silentLogger, nodes: () => [] }
  const watch = new RecoveryWatch(parts as unknown as RecoveryWatchParts)
  watch.learn(recoveries)
  for (let i = 0; i < 20; i++) await turn()
  return fate
}

describe('what was given up', () => {
  const goesOn = { ...range, epoch: { version: recovery.version, confVersion: 9 } }
  const right: Descriptor = { ...range, rangeId: 8, start: 'p', end: 'z', epoch: { version: 8, confVersion: 3 } }

  it('is destroyed once all of its keys are in ranges of later versions', async () => {
    expect(await fateOf(12, range, [goesOn])).toEqual(['silenced', 'destroyed'])
    expect(await fateOf(12, range, [])).toEqual(['silenced'])
    expect(await fateOf(12, range, [range])).toEqual(['silenced'])
  })

  it('stays, silent, while keys of a range that it was merged with are in no later one', async () => {
    expect(await fateOf(12, merged, [goesOn])).toEqual(['silenced'])
    expect(await fateOf(12, merged, [goesOn, right])).toEqual(['silenced'])
    // Thawed, and split since: it never knew of the merge, nor of what was written in it.
    const thawed = { ...right, epoch: { version: 12, confVersion: 3 } }
    expect(await fateOf(12, merged, [goesOn, thawed])).toEqual(['silenced'])
    const recovered = { ...right, epoch: { version: again.version, confVersion: 9 } }
    expect(await fateOf(12, merged, [goesOn, recovered])).toEqual(['silenced', 'destroyed'])
  })

  it('and only lags is destroyed once others have what was cut off from it', async () => {
    const wide = { ...range, end: 'z', epoch: { version: 4, confVersion: 3 } }
    expect(await fateOf(12, wide, [goesOn, { ...right, epoch: { version: 5, confVersion: 3 } }])).toEqual([
      ...['silenced', 'destroyed'],
    ])
  })

  it('before an earlier recovery is given up after a later one as well', async () => {
    const twice = { ...goesOn, epoch: { version: again.version, confVersion: 9 } }
    const child = { ...range, rangeId: 9, start: 'k', epoch: { version: 6, confVersion: 3 } }
    expect(await fateOf(22, child, [twice], [recovery, again])).toEqual(['silenced', 'destroyed'])
  })
})

describe('a survivor', () => {
  it('goes on as the latest recovery that names it as it is says', async () => {
    expect(await fateOf(11, range, [])).toEqual(['goes on as 90'])
    const succeeded = { ...range, epoch: { version: recovery.version, confVersion: 9 } }
    expect(await fateOf(90, succeeded, [], [recovery, again])).toEqual(['goes on as 95'])
    const anew = { ...recovery, version: again.version, successor: 96 }
    expect(await fateOf(11, range, [], [recovery, anew])).toEqual(['goes on as 96'])
  })
})
