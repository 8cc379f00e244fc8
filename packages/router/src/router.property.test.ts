import { CordilleraError, SeededRandom, silentLogger, type Version } from '@cordillera/base'
import type { Descriptor } from '@cordillera/ranges'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { defaultRouterLimits, Router } from './index.js'
import { RecordedSnapshots, range } from './testing/recorded-calls.js'
import { type Faults, UnreliableCluster } from './testing/unreliable-cluster.js'
import { VirtualClock } from './testing/virtual-clock.js'

/**
 * Against a cluster that loses, refuses, executes and forgets at random while ranges split and leaders move: every
 * operation is answered once, no write is executed twice, an acknowledged one was executed, a refused one was not and
 * never will be.
 */
const chance = (max: number) => fc.integer({ min: 0, max })
const faults: fc.Arbitrary<Faults> = fc.record({
  notSent: chance(20),
  lostBefore: chance(20),
  lostAfter: chance(20),
  unknown: chance(20),
  refusedByLeader: chance(30),
  silent: chance(10),
  leaderMoves: chance(30),
  splits: chance(10),
})
const NO_FAULTS: Faults = {
  notSent: 0,
  lostBefore: 0,
  lostAfter: 0,
  unknown: 0,
  refusedByLeader: 0,
  silent: 0,
  leaderMoves: 0,
  splits: 0,
}

const halves: Descriptor[] = [range({ rangeId: 5, end: 'm' }), range({ rangeId: 6, start: 'm' })]

function setUp(seed: number, chosen: Faults) {
  const clock = new VirtualClock()
  const random = new SeededRandom(seed)
  const cluster = new UnreliableCluster(clock, random, chosen, halves)
  const limits = { ...defaultRouterLimits, requestOperationsMax: 5, requestsInFlightMax: 3, operationsMax: 200 }
  const snapshots = new RecordedSnapshots()
  const router = new Router({
    rangeCall: cluster,
    incarnation: 1,
    snapshots,
    clock,
    random,
    logger: silentLogger,
    limits,
  })
  router.learn(halves)
  return { clock, random, cluster, router }
}

test('a write is executed at most once, and its answer is true', () => {
  fc.assert(
    fc.property(fc.integer(), faults, (seed, chosen) => {
      const { clock, random, cluster, router } = setUp(seed, chosen)
      const answers: (CordilleraError | Version)[][] = []
      const reads: unknown[][] = []
      for (let i = 0; i < 150; i++) {
        const key = String.fromCharCode(97 + random.below(26)) + random.below(3)
        const deadlineMs = clock.now() + random.below(3000)
        const writes: (CordilleraError | Version)[] = []
        answers.push(writes)
        router.put(key, Buffer.from(`value ${i}`), deadlineMs, (error, version) => writes.push(error ?? version))
        const read: unknown[] = []
        reads.push(read)
        router.get(key, deadlineMs, (error) => read.push(error?.code))
        cluster.step()
        if (random.below(3) === 0) clock.advance(random.below(60))
      }
      clock.advance(20_000)
      for (const [i, writes] of answers.entries()) {
        const times = cluster.executed.get(`value ${i}`) ?? 0
        expect(writes).toHaveLength(1)
        const [answer] = writes
        const code = answer instanceof CordilleraError ? answer.code : 'acknowledged'
        expect(['acknowledged', 'UNAVAILABLE', 'OVERLOADED', 'OUTCOME_UNKNOWN']).toContain(code)
        if (code === 'acknowledged') expect(times).toBe(1)
        else if (code === 'OUTCOME_UNKNOWN') expect(times).toBeLessThanOrEqual(1)
        else expect(times).toBe(0)
      }
      for (const read of reads) {
        expect(read).toHaveLength(1)
        expect([undefined, 'UNAVAILABLE', 'OVERLOADED']).toContain(read[0])
      }
      expect(cluster.misrouted).toEqual([])
      expect(router.stats).toMatchObject({ operationsWaiting: 0, operationBytesWaiting: 0 })
      expect(clock.pendingTimers).toBeLessThanOrEqual(12) // Pauses of routes that are still looking for their leader.
    }),
    { numRuns: 150 },
  )
})

test('a cluster that has recovered serves everything again', () => {
  fc.assert(
    fc.property(fc.integer(), faults, (seed, chosen) => {
      const { clock, random, cluster, router } = setUp(seed, chosen)
      const put = (deadlineMs: number): unknown[] => {
        const key = String.fromCharCode(97 + random.below(26))
        const answers: unknown[] = []
        router.put(key, Buffer.from(key), deadlineMs, (error) => answers.push(error?.code ?? 'acknowledged'))
        return answers
      }
      for (let i = 0; i < 50; i++) {
        put(clock.now() + 1000)
        cluster.step()
        clock.advance(random.below(40))
      }
      clock.advance(1000)
      cluster.faults = NO_FAULTS
      cluster.isUp = () => true
      const answers = Array.from({ length: 50 }, () => put(clock.now() + 5000))
      clock.advance(2000)
      expect(answers.flat()).toEqual(Array.from({ length: 50 }, () => 'acknowledged'))
    }),
    { numRuns: 100 },
  )
})

test('a scan over ranges agrees with a sorted map', async () => {
  const bound = fc.option(fc.string({ unit: fc.constantFrom('a', 'f', 'm', 'z'), maxLength: 2 }))
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        seed: fc.integer(),
        chosen: faults,
        start: bound,
        end: bound,
        reverse: fc.boolean(),
        values: fc.boolean(),
        limit: fc.integer({ min: 1, max: 40 }),
        bytesMax: fc.integer({ min: 1, max: 200 }),
      }),
      async ({ seed, chosen, start, end, ...rest }) => {
        // A scan is sent again only when its connection is lost: it waits for a replica that keeps silent.
        const { clock, random, cluster, router } = setUp(seed, { ...chosen, silent: 0 })
        for (let i = random.below(40); i > 0; i--) {
          const key = String.fromCharCode(97 + random.below(26)) + random.below(2)
          cluster.data.set(key, { version: i, value: Buffer.alloc(random.below(20)) })
        }
        const plan = { ...rest, start: start ?? '', end, at: 0 }
        const deadlineMs = clock.now() + 100_000
        const scan = router.scan(plan, deadlineMs)
        let isDone = false
        const onEnd = (): void => {
          isDone = true
        }
        scan.then(onEnd, onEnd)
        while (!isDone) {
          cluster.step()
          clock.advance(30)
          await Promise.resolve()
          expect(clock.now()).toBeLessThan(deadlineMs + 1000)
        }
        expect(await scan).toEqual(naiveScan(cluster, plan))
      },
    ),
    { numRuns: 300 },
  )
})

interface Plan {
  start: string
  end: string | null
  reverse: boolean
  values: boolean
  limit: number
  bytesMax: number
}

function naiveScan({ data }: UnreliableCluster, { start, end, reverse, values, limit, bytesMax }: Plan) {
  const within = [...data]
    .filter(([key]) => key >= start && (end === null || key < end))
    .sort(([a], [b]) => (a < b ? -1 : 1))
  if (reverse) within.reverse()
  const entries: { key: string; version: number; value: Uint8Array }[] = []
  let bytes = 0
  for (const [key, { version, value }] of within) {
    const shown = values ? value : new Uint8Array(0)
    bytes += key.length + shown.length
    if (entries.length === limit || (entries.length > 0 && bytes > bytesMax)) break
    entries.push({ key, version, value: shown })
  }
  return { entries, more: entries.length < within.length, at: 77 }
}
