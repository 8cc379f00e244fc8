import { CordilleraError, ManualClock, type Version } from '@cordillera/base'
import { describe, expect, it } from 'vitest'
import { IDLE_MS, Snapshots } from './snapshots.js'
import { REFRESH_MS, type TimestampClaim, TimestampClient } from './timestamp-client.js'

type Needed = { readonly term: number; readonly count: number; readonly oldestSnapshot: Version }

/** A client whose requests the test sends and answers. */
function setUp() {
  const clock = new ManualClock()
  const requests: {
    prepare: () => Needed
    answer: (first: Version, safePoint?: Version) => void
    fail: (code: 'UNAVAILABLE' | 'CLOSED') => void
  }[] = []
  const safePoints: Version[] = []
  const snapshots: Snapshots = new Snapshots({ clock, client: () => client })
  const client: TimestampClient = new TimestampClient({
    router: () => ({
      askTimestamps: (prepare, _deadlineMs, done) => {
        requests.push({
          prepare,
          answer: (first, safePoint = 0) => done(undefined, { kind: 'timestamps', first, safePoint }),
          fail: (code) => done(new CordilleraError(code), undefined),
        })
      },
    }),
    clock,
    systemReplica: () => ({ replicaId: 1, term: 4 }),
    oldestSnapshot: () => snapshots.oldestSnapshot(),
    onSafePoint: (safePoint) => safePoints.push(safePoint),
  })
  const waiter = (count: number) => {
    const got: Version[] = []
    const seen = { got, asked: 0, released: 0, claim: (): TimestampClaim | undefined => undefined }
    seen.claim = () => {
      seen.asked++
      return {
        count,
        grant: (first) => void got.push(first),
        release: () => {
          seen.released++
        },
      }
    }
    return seen
  }
  const pass = async (ms: number): Promise<void> => {
    let isOver = false
    clock.after(ms, () => {
      isOver = true
    })
    while (!isOver) await clock.next()
  }
  return { clock, client, snapshots, requests, safePoints, waiter, pass }
}

describe('a client of the oracle', () => {
  it('has one request under way, and one queued for everyone who came meanwhile', () => {
    const s = setUp()
    const [a, b, c, d] = [s.waiter(2), s.waiter(3), s.waiter(1), s.waiter(4)]
    s.client.ask(a)
    s.client.ask(b)
    expect(s.requests).toHaveLength(1)
    expect([a.asked, b.asked]).toEqual([0, 0])
    expect(s.requests[0]!.prepare()).toMatchObject({ term: 4, count: 5 })
    s.client.ask(c)
    s.client.ask(d)
    expect(s.requests).toHaveLength(1)
    s.requests[0]!.answer(10)
    expect([a.got, b.got, c.got]).toEqual([[10], [12], []])
    expect(s.requests).toHaveLength(2)
    expect(s.requests[1]!.prepare()).toMatchObject({ count: 5 })
    s.requests[1]!.answer(20)
    expect([c.got, d.got]).toEqual([[20], [21]])
    expect(s.client.newestKnown).toBe(24)
  })

  it('gives an answer to nobody who came after the request had left', () => {
    const s = setUp()
    const [early, late] = [s.waiter(1), s.waiter(1)]
    s.client.ask(early)
    s.requests[0]!.prepare()
    s.client.ask(late)
    s.requests[0]!.answer(10)
    expect([early.got, late.asked, late.got]).toEqual([[10], 0, []])
    s.requests[1]!.prepare()
    s.requests[1]!.answer(20)
    expect(late.got).toEqual([20])
  })

  it('asks everyone anew when the request is sent again, those who came meanwhile too', () => {
    const s = setUp()
    const [early, late] = [s.waiter(1), s.waiter(1)]
    s.client.ask(early)
    s.requests[0]!.prepare()
    s.client.ask(late)
    expect(s.requests[0]!.prepare()).toMatchObject({ count: 2 })
    s.requests[0]!.answer(10)
    expect([early.asked, early.released, early.got, late.got]).toEqual([2, 1, [10], [11]])
  })

  it('asks again, after a pause, for those whose request failed', async () => {
    const s = setUp()
    const waiter = s.waiter(1)
    s.client.ask(waiter)
    s.requests[0]!.prepare()
    s.requests[0]!.fail('UNAVAILABLE')
    expect([s.requests.length, waiter.released]).toEqual([1, 1])
    await s.pass(100)
    expect(s.requests).toHaveLength(2)
    s.requests[1]!.prepare()
    s.requests[1]!.answer(5)
    expect(waiter.got).toEqual([5])
  })

  it('stops with its router', async () => {
    const s = setUp()
    s.client.ask(s.waiter(1))
    s.requests[0]!.fail('CLOSED')
    s.client.ask(s.waiter(1))
    await s.pass(1_000)
    expect(s.requests).toHaveLength(1)
  })

  it('refreshes now and then, and passes the safe point on', async () => {
    const s = setUp()
    s.client.start()
    expect(s.requests[0]!.prepare()).toEqual({ replicaId: 1, term: 4, count: 0, oldestSnapshot: 1 })
    s.requests[0]!.answer(8, 3)
    await s.pass(REFRESH_MS + 1)
    expect(s.requests[1]!.prepare()).toEqual({ replicaId: 1, term: 4, count: 0, oldestSnapshot: 8 })
    s.requests[1]!.answer(8, 6)
    expect(s.safePoints).toEqual([3, 6])
    s.client.close()
  })
})

describe('snapshots', () => {
  const open = (s: ReturnType<typeof setUp>, at: Version, deadlineMs = 1_000) => {
    const answers: unknown[] = []
    s.snapshots.open(at, s.clock.now() + deadlineMs, (error, opened) => answers.push(error?.code ?? opened))
    return answers
  }
  const oldest = async (s: ReturnType<typeof setUp>): Promise<Version> => {
    await s.pass(1_000)
    return s.snapshots.oldestSnapshot()
  }

  it('are fresh timestamps, and reported as long as they are open or may be opened again', async () => {
    const s = setUp()
    const opened = open(s, 0)
    s.requests[0]!.prepare()
    s.requests[0]!.answer(50)
    expect(opened).toEqual([50])
    s.client.ask(s.waiter(1))
    s.requests[1]!.prepare()
    s.requests[1]!.answer(90)
    expect(await oldest(s)).toBe(50)
    s.snapshots.close(50, true)
    expect(await oldest(s)).toBe(50)
    await s.pass(IDLE_MS - 10_000)
    expect(open(s, 50)).toEqual([50])
    s.snapshots.close(50, true)
    await s.pass(IDLE_MS - 10_000)
    expect(await oldest(s)).toBe(50)
    await s.pass(10_000)
    expect(await oldest(s)).toBe(91)
    expect(s.snapshots.size).toBe(0)
  })

  it('are counted by their uses', async () => {
    const s = setUp()
    s.client.ask(s.waiter(1))
    s.requests[0]!.prepare()
    s.requests[0]!.answer(90)
    for (let i = 0; i < 3; i++) expect(open(s, 70)).toEqual([70])
    s.snapshots.close(70, false)
    s.snapshots.close(70, false)
    expect(await oldest(s)).toBe(70)
    s.snapshots.close(70, false)
    expect(await oldest(s)).toBe(91)
  })

  it('that other nodes know of are asked about; those in the future are refused', () => {
    const s = setUp()
    const [known, future] = [open(s, 200), open(s, 202)]
    s.requests[0]!.prepare()
    s.requests[0]!.answer(201)
    expect(known).toEqual([200])
    expect(future).toEqual(['BAD_REQUEST'])
  })

  it('that get no timestamp in time are not open', async () => {
    const s = setUp()
    const answers = open(s, 0)
    await s.pass(1_100)
    expect(answers).toEqual(['UNAVAILABLE'])
    expect(s.requests[0]!.prepare()).toMatchObject({ count: 0 })
    s.requests[0]!.answer(9)
    expect(s.snapshots.size).toBe(0)
  })
})
