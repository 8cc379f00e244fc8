import { Buffer } from 'node:buffer'
import { SeededRandom } from '@cordillera/base'
import { keyspacePrefix } from '@cordillera/ranges'
import { expect, test } from 'vitest'
import { SimulatedCluster } from './simulated-cluster.js'
import type { SimulatedNode } from './simulated-node.js'
import { turnsOfNode } from './testing/turns-of-node.js'

/**
 * Where a majority's disks are damaged for good, no quorum remembers what it acknowledged: the only right result is to
 * stop. Whatever is still answered is right, and nothing else is.
 */
const RANGES = 3
const KEYS = Array.from({ length: 12 }, (_, i) => `${keyspacePrefix('default')}${i.toString(16)}`)

/** What an operation through the machine ends with: a value, `written`, or the code. */
function attempt(simulated: SimulatedCluster, machine: SimulatedNode, key: string, value?: string): Promise<string> {
  const deadlineMs = simulated.clock.now() + 1_000
  const { router } = machine.node!
  return simulated.settle(
    new Promise<string>((resolve) => {
      if (value !== undefined) {
        router.put(key, Buffer.from(value), deadlineMs, (error) => resolve(error?.code ?? 'written'))
        return
      }
      router.get(key, deadlineMs, (error, found) => {
        resolve(error?.code ?? (found === undefined ? 'nothing' : Buffer.from(found.value).toString()))
      })
    }),
    5_000,
  )
}

/** Every file of the log is full of rot, but for the batch that was written last. */
function ruin(machine: SimulatedNode): void {
  const { logDisk } = machine
  const { lastWrittenThrough: last } = logDisk
  machine.hasBadDisk = true
  for (const name of logDisk.names()) {
    const end = name === last?.name ? last.position : logDisk.contents(name).length
    for (let offset = 4_096; offset < end; offset += 64) logDisk.flipBit(name, offset, offset % 8)
  }
}

test.each([1, 2, 3, 4, 5])(
  'seed %i: a damaged minority is repaired, a damaged majority stops and says so',
  async (seed) => {
    const simulated = new SimulatedCluster({
      seed,
      runTurns: turnsOfNode,
      ranges: RANGES,
    })
    const { clock, machines } = simulated
    simulated.startAll()
    expect(await clock.runUntil(() => simulated.isReady(), 30_000)).toBe(true)
    const random = new SeededRandom(seed)
    for (let round = 0; round < 10; round++) {
      for (const key of KEYS) {
        expect(await attempt(simulated, machines[random.below(3)]!, key, `${key} ${round}`)).toBe('written')
      }
    }
    const [first, second, third] = machines as [SimulatedNode, SimulatedNode, SimulatedNode]
    // Of the first nothing is missing any more when the second is ruined: its replicas were replaced by then.
    for (const ruined of [[first], [second], [first, second]]) {
      for (const machine of ruined) {
        ruin(machine)
        machine.crash('killed')
      }
      for (const machine of ruined) machine.start()
      await clock.run(10_000)
      const outcomes = new Set<string>()
      for (const key of KEYS) {
        const read = await attempt(simulated, third, key)
        outcomes.add(read === `${key} 9` ? 'right' : read)
        outcomes.add(await attempt(simulated, third, key, `${key} 9`))
      }
      const { health } = await simulated.settle(third.node!.cluster(), 10_000)
      if (ruined.length === 1) {
        expect(outcomes).toEqual(new Set(['right', 'written']))
        expect(health).toBe('3 nodes live, every range has a leader')
      } else {
        for (const outcome of outcomes) expect(outcome).toMatch(/^(?:OUTCOME_UNKNOWN|UNAVAILABLE)$/)
        expect(health).toContain(`${RANGES + 1} ranges stopped, most replicas damaged`)
      }
    }
    expect([...simulated.checker.violations, ...simulated.failures]).toEqual([])
  },
)
