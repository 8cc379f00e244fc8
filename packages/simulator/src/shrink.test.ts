import { describe, expect, it } from 'vitest'
import { drawOptions, type SeedOptions } from './seed-options.js'
import { shrink } from './shrink.js'

const STRUCK = 13

/** Shrinks a run that fails exactly when all these faults take part. */
async function shrunkTo(needed: readonly number[]): Promise<{ best: SeedOptions; runs: number; smaller: number }> {
  let [runs, smaller] = [0, 0]
  const best = await shrink(drawOptions(3, 'swarm'), {
    tryRun: async ({ faults }) => {
      runs++
      return needed.some((i) => faults.leftOut?.includes(i)) ? undefined : { struck: STRUCK }
    },
    onSmaller: () => smaller++,
  })
  return { best, runs, smaller }
}

const keptOf = ({ faults }: SeedOptions): number[] =>
  Array.from({ length: STRUCK }, (_, i) => i).filter((i) => !faults.leftOut?.includes(i))

describe('shrink', () => {
  it.each([[[]], [[0]], [[12]], [[3, 9]], [[0, 1, 2, 10, 11, 12]]])('keeps the faults %j alone', async (needed) => {
    const { best, runs } = await shrunkTo(needed)
    expect(keptOf(best)).toEqual(needed)
    expect(best).toMatchObject({ ranges: 1, workload: { clients: 2, keys: 1 } })
    expect(best.faultsMs).toBeLessThanOrEqual(500)
    expect(runs).toBeLessThan(80)
  })

  it('gives back what does not fail', async () => {
    const options = drawOptions(3, 'swarm')
    const best = await shrink(options, { tryRun: async () => undefined, onSmaller: () => expect.unreachable() })
    expect(best).toBe(options)
  })

  it('keeps what is needed of everything else', async () => {
    const options = drawOptions(3, 'swarm')
    const best = await shrink(options, {
      tryRun: async ({ ranges, faultsMs, workload }) =>
        ranges === options.ranges && faultsMs > 3_000 && workload.keys > 1 ? { struck: STRUCK } : undefined,
      onSmaller: () => {},
    })
    expect(best).toMatchObject({ ranges: options.ranges, workload: { keys: options.workload.keys, clients: 2 } })
    expect(best.faultsMs).toBeGreaterThan(3_000)
    expect(best.faultsMs).toBeLessThanOrEqual(6_000)
  })
})
