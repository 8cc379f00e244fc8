import {
  decodeWriteBlock,
  OUTCOME_EXPIRED,
  OUTCOME_MEMORY_FULL,
  OUTCOME_REUSED,
  VALUE_BYTES_MAX,
} from '@cordillera/ranges'
import type { RangeReply, ScanRequest, TimestampsRequest, WriteRequest } from '@cordillera/wire'
import { describe, expect, test } from 'vitest'
import {
  codeOf,
  commandsOf,
  epochOf,
  keysOf,
  range,
  refused,
  type Sent,
  setUp,
  success,
  values,
  written,
} from './testing/recorded-calls.js'

const halves = [range({ rangeId: 5, end: 'm' }), range({ rangeId: 6, start: 'm' })]

/** Makes `node` the settled leader of range 5. */
function settleOn(s: ReturnType<typeof setUp>, node: number): void {
  s.router.learnLeader(5, node)
  settle(s, 'a')
}

/** Makes node 1 the settled leader of every range that holds one of `keys`. */
function settle(s: ReturnType<typeof setUp>, ...keys: string[]): void {
  for (const key of keys) {
    s.get(key)
    s.clock.turn()
    s.calls.last.reply(values(s.calls.last.request))
    s.clock.turn()
  }
  s.calls.sent.length = 0
}

const nodesOf = (sent: Sent[]): number[] => sent.map(({ node }) => node)

describe('batching', () => {
  test('the writes of one turn for one range are one request, the reads another', () => {
    const s = setUp({}, halves)
    settle(s, 'a', 'z')
    const answers = ['a', 'b', 'z', 'c'].map((key) => s.put(key, `value of ${key}`))
    const deleted = s.delete('d')
    const reads = ['a', 'zz', 'b'].map((key) => s.get(key))
    expect(s.calls.sent).toEqual([])
    s.clock.turn()
    expect(s.calls.sent.map(({ request }) => [request.kind, request.rangeId, keysOf(request)])).toEqual([
      ['write', 5, ['a', 'b', 'c', 'd']],
      ['read', 5, ['a', 'b']],
      ['write', 6, ['z']],
      ['read', 6, ['zz']],
    ])
    s.calls.sent[0]!.reply({ kind: 'written', outcomes: [11, 12, 13, 14] })
    s.calls.sent[1]!.reply({ kind: 'values', values: [{ version: 3, value: Buffer.from('x') }, undefined] })
    s.calls.sent[2]!.reply({ kind: 'written', outcomes: [9] })
    expect(answers).toEqual([[11], [12], [9], [13]])
    expect(deleted).toEqual([14])
    expect(reads).toEqual([[{ version: 3, value: Buffer.from('x') }], [], [undefined]])
    expect(s.router.stats).toMatchObject({
      operationsWaiting: 1,
      operationBytesWaiting: 2,
      writes: 5,
      writeRequests: 2,
    })
  })

  test('values are copied when they are handed over', () => {
    const s = setUp()
    const value = Buffer.from('before')
    s.router.put('k', value, s.clock.now() + 1000, () => {})
    value.fill('x')
    s.clock.turn()
    expect(commandsOf(s.calls.last.request)).toMatchObject([{ kind: 'put', key: 'k', value: Buffer.from('before') }])
  })

  test('a request is bounded in operations and in bytes', () => {
    const s = setUp({ requestOperationsMax: 3, requestBytesMax: 100, requestsInFlightMax: 99 })
    settle(s, 'a')
    for (const key of ['a', 'b', 'c', 'd']) s.put(key)
    s.put('big', 'x'.repeat(90))
    s.put('over', 'x'.repeat(500))
    s.put('e')
    for (let i = 0; i < 7; i++) s.get(`${i}`)
    s.clock.turn()
    expect(s.calls.sent.map(({ request }) => keysOf(request))).toEqual([
      ['a', 'b', 'c'],
      ['d', 'big'],
      ['over'],
      ['e'],
      ['0', '1', '2'],
      ['3', '4', '5'],
      ['6'],
    ])
  })

  test('beyond the requests in flight, operations gather into the next one', () => {
    const s = setUp({ requestsInFlightMax: 2 })
    settle(s, 'a')
    for (let i = 0; i < 6; i++) {
      s.put(`${i}`)
      s.clock.turn()
    }
    expect(s.calls.sent.map(({ request }) => keysOf(request))).toEqual([['0'], ['1']])
    s.get('r')
    s.clock.turn()
    expect(s.calls.sent).toHaveLength(3)
    s.calls.sent[1]!.reply(written(s.calls.sent[1]!.request))
    s.clock.turn()
    expect(s.calls.sent).toHaveLength(4)
    expect(keysOf(s.calls.last.request)).toEqual(['2', '3', '4', '5'])
  })

  test('fewer values than asked answer the first reads; the others are asked for again', () => {
    const s = setUp()
    settle(s, 'a')
    const reads = ['a', 'b', 'c'].map((key) => s.get(key))
    s.clock.turn()
    s.calls.last.reply({ kind: 'values', values: [undefined] })
    expect(reads).toEqual([[undefined], [], []])
    s.clock.turn()
    expect(keysOf(s.calls.last.request)).toEqual(['b', 'c'])
    s.calls.last.reply(values(s.calls.last.request))
    expect(reads.map((answers) => answers.length)).toEqual([1, 1, 1])
    expect(s.router.stats).toMatchObject({ operationsWaiting: 0, operationBytesWaiting: 0 })
  })

  test('a reply may come before send returns', () => {
    const s = setUp()
    s.calls.send = (_node, request, onReply) => {
      onReply(success(request))
      return true
    }
    const [put, got] = [s.put('a'), s.get('a')]
    s.clock.turn()
    expect([put, got]).toEqual([[1], [{ version: 1, value: Buffer.from('a') }]])
  })
})

describe('finding the leader', () => {
  test('a hint is followed at once and remembered', () => {
    const s = setUp()
    const answers = s.put('a')
    s.clock.turn()
    s.calls.last.reply(refused('not-leader', 3))
    s.clock.turn()
    expect(nodesOf(s.calls.sent)).toEqual([1, 3])
    s.calls.last.reply(written(s.calls.last.request, 8))
    expect(answers).toEqual([8])
    expect(s.router.leaderOf(5)).toBe(3)
    s.put('b')
    s.clock.turn()
    expect(s.calls.last.node).toBe(3)
  })

  test('two nodes that point at each other are asked with pauses', () => {
    const s = setUp()
    s.calls.script = (node) => refused('not-leader', node === 1 ? 2 : 1)
    s.put('a')
    s.clock.advance(2000)
    expect(s.calls.sent.length).toBeGreaterThan(10)
    expect(s.calls.sent.length).toBeLessThan(60)
  })

  test('without a hint the replicas are asked in turn, with growing pauses', () => {
    const s = setUp()
    s.calls.script = () => refused('not-leader')
    s.put('a')
    s.clock.advance(1000)
    expect(nodesOf(s.calls.sent).slice(0, 6)).toEqual([1, 2, 3, 1, 2, 3])
    const at = s.calls.sent.map(({ atMs }) => atMs)
    const pauses = at.slice(1).map((atMs, i) => atMs - at[i]!)
    for (const [i, pauseMs] of pauses.entries()) {
      const longestMs = Math.min(250, 10 * 2 ** i)
      expect(pauseMs).toBeGreaterThanOrEqual(longestMs / 2)
      expect(pauseMs).toBeLessThanOrEqual(longestMs)
    }
  })

  test('everything for a range without a leader waits behind one probe', () => {
    const s = setUp({ requestOperationsMax: 10, requestsInFlightMax: 99 })
    for (let i = 0; i < 100; i++) s.put(`${i}`)
    for (let i = 0; i < 100; i++) s.get(`${i}`)
    s.clock.turn()
    expect(s.calls.sent).toHaveLength(1)
    s.calls.last.reply(refused('not-leader'))
    s.clock.advance(10)
    expect(s.calls.sent).toHaveLength(2)
    s.calls.last.reply(success(s.calls.last.request))
    s.clock.turn()
    expect(s.calls.sent).toHaveLength(21)
    expect(new Set(nodesOf(s.calls.sent.slice(1)))).toEqual(new Set([2]))
  })

  test('requests under way to a deposed leader come back and follow one probe, in their order', () => {
    const s = setUp({ requestsInFlightMax: 3 })
    settle(s, 'a')
    for (const key of ['a', 'b', 'c']) {
      s.put(key)
      s.clock.turn()
    }
    const deposed = s.calls.sent.splice(0)
    for (const i of [1, 2, 0]) deposed[i]!.reply(refused('not-leader', 2))
    s.clock.turn()
    expect(s.calls.sent.map(({ node, request }) => [node, ...keysOf(request)])).toEqual([[2, 'a']])
    s.calls.last.reply(written(s.calls.last.request))
    s.clock.turn()
    expect(s.calls.sent.map(({ node, request }) => [node, ...keysOf(request)])).toEqual([
      [2, 'a'],
      [2, 'b'],
      [2, 'c'],
    ])
  })

  test('late news of an earlier leader does not disturb the present one', () => {
    const s = setUp()
    settle(s, 'a')
    s.put('a')
    s.clock.turn()
    s.put('b')
    s.clock.turn()
    const [first, second] = s.calls.sent.splice(0)
    first!.reply(refused('not-leader', 2))
    s.clock.turn()
    s.calls.last.reply(written(s.calls.last.request))
    s.clock.turn()
    expect(s.router.leaderOf(5)).toBe(2)
    second!.reply(refused('not-leader', 3))
    s.clock.turn()
    expect(s.router.leaderOf(5)).toBe(2)
    expect(s.calls.last).toMatchObject({ node: 2 })
  })

  test('requests under way to an earlier leader do not count towards the bound of the present one', () => {
    const s = setUp({ requestsInFlightMax: 2 })
    settle(s, 'a')
    for (const key of ['a', 'b']) {
      s.put(key)
      s.clock.turn()
    }
    const deposed = s.calls.sent.splice(0)
    s.router.learnLeader(5, 2)
    s.get('a')
    s.clock.turn()
    s.calls.last.reply(success(s.calls.last.request))
    for (const { reply, request } of deposed) reply(written(request))
    s.calls.sent.length = 0
    for (const key of ['c', 'd', 'e', 'f']) {
      s.put(key)
      s.clock.turn()
    }
    expect(s.calls.sent.map(({ node, request }) => [node, ...keysOf(request)])).toEqual([
      [2, 'c'],
      [2, 'd'],
    ])
  })

  test('a leader whose node goes down is not even tried', () => {
    const s = setUp()
    settleOn(s, 2)
    s.calls.down.add(2)
    s.put('a')
    s.clock.turn()
    expect(nodesOf(s.calls.sent)).toEqual([3])
  })

  test('pauses are short again after a success', () => {
    const s = setUp()
    s.calls.script = () => refused('not-leader')
    s.put('a')
    s.clock.advance(2000)
    s.calls.script = (_node, request) => success(request)
    s.clock.advance(250)
    s.calls.script = () => refused('not-leader')
    s.calls.sent.length = 0
    s.put('a')
    s.clock.advance(10)
    expect(s.calls.sent).toHaveLength(2)
  })

  test('a node that is down is asked last, and its leadership forgotten', () => {
    const s = setUp()
    settle(s, 'a')
    s.calls.script = (node) => (node === 3 ? undefined : refused('not-leader', 0))
    s.router.learnLeader(5, 2)
    s.calls.down.add(2)
    s.get('a')
    s.clock.advance(400)
    expect(new Set(nodesOf(s.calls.sent))).toEqual(new Set([1, 3]))
    s.calls.last.reply(success(s.calls.last.request))
    expect(s.router.leaderOf(5)).toBe(3)
  })

  test('what did not leave is sent to another replica', () => {
    const s = setUp()
    s.calls.refusesToSend.add(1)
    const answers = s.put('a')
    s.clock.advance(20)
    expect(nodesOf(s.calls.sent)).toEqual([2])
    s.calls.last.reply(written(s.calls.last.request))
    expect(answers).toEqual([1])
  })

  test('an overloaded leader is asked again after a pause, not another node', () => {
    const s = setUp()
    settle(s, 'a')
    s.put('a')
    s.clock.turn()
    s.calls.last.reply(refused('overloaded', 1))
    s.clock.turn()
    expect(s.calls.sent).toHaveLength(1)
    s.clock.advance(10)
    expect(nodesOf(s.calls.sent)).toEqual([1, 1])
  })

  test('full disks are said at once, deletes go by themselves, and values are asked for again after a while', () => {
    const s = setUp()
    settle(s, 'a')
    const refusedPuts = [s.put('a'), s.put('b')]
    const deleted = s.delete('c')
    s.clock.turn()
    s.calls.last.reply(refused('disk-full', 1))
    expect(refusedPuts.map(codeOf)).toEqual(['DISK_FULL', 'DISK_FULL'])
    expect(deleted).toEqual([])
    s.clock.turn()
    expect(commandsOf(s.calls.last.request)).toMatchObject([{ kind: 'delete', key: 'c' }])
    s.calls.last.reply(written(s.calls.last.request))
    expect(deleted).toHaveLength(1)
    expect(s.calls.sent).toHaveLength(2)
    // Without asking: the leader has just said so.
    expect(codeOf(s.put('a'))).toBe('DISK_FULL')
    s.clock.advance(300)
    expect(s.calls.sent).toHaveLength(2)
    const again = s.put('a')
    s.clock.turn()
    s.calls.last.reply(written(s.calls.last.request))
    expect(again).toHaveLength(1)
    expect(s.router.stats).toMatchObject({ operationsWaiting: 0, operationBytesWaiting: 0, diskFull: 3 })
  })

  test('deletes that are refused too are answered, not tried until their deadline', () => {
    const s = setUp()
    settle(s, 'a')
    const answers = s.delete('a')
    s.clock.turn()
    s.calls.last.reply(refused('disk-full', 1))
    expect(codeOf(answers)).toBe('DISK_FULL')
    expect(s.router.stats).toMatchObject({ operationsWaiting: 0, operationBytesWaiting: 0 })
  })

  test('a write that may have been proposed is not said to be refused for want of room', () => {
    const s = setUp()
    settle(s, 'a')
    const answers = s.put('a')
    s.clock.turn()
    s.calls.last.reply({ kind: 'unknown' })
    s.clock.advance(20)
    s.calls.last.reply(refused('disk-full', 1))
    s.clock.advance(500)
    expect(answers).toEqual([])
    s.clock.advance(10_000)
    expect(codeOf(answers)).toBe('OUTCOME_UNKNOWN')
  })

  test('a leader learned from elsewhere ends a pause', () => {
    const s = setUp()
    s.calls.script = (node) => (node === 1 ? refused('not-leader') : undefined)
    s.put('a')
    s.clock.turn()
    s.router.learnLeader(5, 3)
    s.clock.turn()
    expect(nodesOf(s.calls.sent)).toEqual([1, 3])
  })

  test('but not when that node has just refused', () => {
    const s = setUp()
    s.calls.script = () => refused('not-leader')
    s.put('a')
    s.clock.turn()
    for (let i = 0; i < 100; i++) {
      s.router.learnLeader(5, 1)
      s.clock.turn()
    }
    expect(s.calls.sent).toHaveLength(1)
    s.clock.advance(10)
    expect(nodesOf(s.calls.sent)).toEqual([1, 1])
  })

  test('a silent leader: others are asked, and what it has is sent again', () => {
    const s = setUp()
    settle(s, 'a')
    const [write, read] = [s.put('a'), s.get('b')]
    s.clock.turn()
    const [stuckWrite, stuckRead] = s.calls.sent.splice(0)
    s.calls.script = (_node, request) => success(request)
    s.clock.advance(1200)
    expect(s.router.leaderOf(5)).toBe(2)
    expect([write, read]).toEqual([[1], [{ version: 1, value: Buffer.from('b') }]])
    stuckWrite!.reply(written(stuckWrite!.request, 5))
    stuckRead!.reply(success(stuckRead!.request))
    expect([write.length, read.length]).toEqual([1, 1])
    expect(s.router.leaderOf(5)).toBe(2)
  })

  test('an answer to an earlier sending of reads is not taken for that of the present one', () => {
    const s = setUp()
    settle(s, 'a')
    const [early, late] = [s.get('a', s.clock.now() + 900), s.get('b')]
    s.clock.advance(1100)
    const [first, second] = s.calls.sent
    expect([codeOf(early), keysOf(second!.request)]).toEqual(['UNAVAILABLE', ['b']])
    first!.reply({ kind: 'values', values: [{ version: 1, value: Buffer.from('a') }] })
    expect(late).toEqual([])
    second!.reply(values(second!.request))
    expect(late).toEqual([{ version: 1, value: Buffer.from('b') }])
  })

  test('a long scan is waited for, and does not hold up what comes behind it', async () => {
    const s = setUp()
    const plan = { start: 'a', end: 'z', reverse: false, limit: 10, bytesMax: 1000, values: true, at: 0 }
    const scan = s.router.scan(plan, s.clock.now() + 5000)
    s.clock.turn()
    const [probe] = s.calls.sent.splice(0)
    const read = s.get('b')
    s.clock.advance(1100)
    expect(s.calls.sent.map(({ node, request }) => [node, request.kind])).toEqual([[2, 'read']])
    s.calls.last.reply(success(s.calls.last.request))
    expect(read).toHaveLength(1)
    probe!.reply({ kind: 'scanned', entries: [{ key: 'c', version: 1, value: Buffer.alloc(0) }], more: false })
    expect((await scan).entries).toHaveLength(1)
  })

  test('a slow leader is not flooded while it is silent', () => {
    const s = setUp({ requestOperationsMax: 1 })
    s.calls.script = (node) => (node === 1 ? undefined : refused('not-leader', 1))
    for (let i = 0; i < 1000; i++) s.put(`${i}`, 'v', s.clock.now() + 20_000)
    s.clock.advance(10_000)
    expect(s.calls.sent.filter(({ node }) => node === 1).length).toBeLessThan(12)
  })
})

describe('outcomes', () => {
  const doubts: [string, RangeReply | undefined][] = [
    ['lost with its connection', undefined],
    ['answered as unknown', { kind: 'unknown' }],
    ['answered with nonsense', { kind: 'values', values: [] }],
  ]
  test.each(doubts)('a write %s is sent again under its number', (_name, reply) => {
    const s = setUp()
    const answers = [s.put('a'), s.delete('b')]
    s.clock.turn()
    const first = s.calls.last
    first.reply(reply)
    s.clock.advance(20)
    expect(nodesOf(s.calls.sent)).toEqual([1, 2])
    expect(commandsOf(s.calls.last.request)).toEqual(commandsOf(first.request))
    s.calls.last.reply({ kind: 'written', outcomes: [8, 9] })
    expect(answers).toEqual([[8], [9]])
  })

  test.each(doubts)('a write %s and then only refused is of unknown outcome for ever', (_name, reply) => {
    const s = setUp()
    const answers = [s.put('a'), s.delete('b')]
    s.clock.turn()
    s.calls.script = () => refused('not-leader')
    s.calls.last.reply(reply)
    const later = s.put('c')
    s.clock.advance(10_000)
    expect(answers.map(codeOf)).toEqual(['OUTCOME_UNKNOWN', 'OUTCOME_UNKNOWN'])
    expect(codeOf(later)).toBe('UNAVAILABLE')
    expect(s.router.stats).toMatchObject({ operationsWaiting: 0, outcomeUnknown: 2, unavailable: 1 })
  })

  test('doubt goes along when ranges change, and stays with those that it is about', () => {
    const s = setUp()
    const answers = ['a', 'z', 'b'].map((key) => s.put(key))
    s.clock.turn()
    s.calls.script = () => refused('not-leader')
    s.calls.last.reply(undefined)
    const later = [s.put('c'), s.put('y')]
    s.router.learn([range({ rangeId: 5, end: 'm', version: 2 }), range({ rangeId: 6, start: 'm', version: 2 })])
    s.clock.advance(10_000)
    expect(answers.map(codeOf)).toEqual(['OUTCOME_UNKNOWN', 'OUTCOME_UNKNOWN', 'OUTCOME_UNKNOWN'])
    expect(later.map(codeOf)).toEqual(['UNAVAILABLE', 'UNAVAILABLE'])
  })

  test('what did not write is answered as such, each command by itself', () => {
    const s = setUp()
    const answers = ['a', 'b', 'c', 'd', 'e', 'f'].map((key) => s.put(key))
    s.clock.turn()
    const outcomes = [7, -5, 0, OUTCOME_REUSED, OUTCOME_MEMORY_FULL, OUTCOME_EXPIRED]
    s.calls.last.reply({ kind: 'written', outcomes })
    expect(answers[0]).toEqual([7])
    expect(answers[1]![0]).toMatchObject({ code: 'VERSION_MISMATCH', details: { version: 5 } })
    expect(answers[2]![0]).toMatchObject({ code: 'VERSION_MISMATCH', details: { version: 0 } })
    expect(answers.slice(3).map(codeOf)).toEqual(['IDEMPOTENCY_KEY_REUSED', 'OVERLOADED', 'OUTCOME_UNKNOWN'])
  })

  test('every request says which numbers are still outstanding', () => {
    const s = setUp({ requestsInFlightMax: 9 })
    settle(s, 'a')
    for (const key of ['a', 'b', 'c']) {
      s.put(key)
      s.clock.turn()
      s.calls.last.reply(written(s.calls.last.request))
    }
    const lowest = (): number => {
      const { block } = s.calls.last.request as WriteRequest
      return decodeWriteBlock(block).lowestOutstanding
    }
    s.calls.sent.length = 0
    s.put('d')
    s.clock.turn()
    const first = s.calls.last
    expect([lowest(), commandsOf(first.request)[0]!.sequence]).toEqual([4, 4])
    s.put('e')
    s.clock.turn()
    s.calls.last.reply(written(s.calls.last.request))
    s.put('f')
    s.clock.turn()
    expect([lowest(), commandsOf(s.calls.last.request)[0]!.sequence]).toEqual([4, 6])
    first.reply(written(first.request))
    s.put('g')
    s.clock.turn()
    expect([lowest(), commandsOf(s.calls.last.request)[0]!.sequence]).toEqual([6, 7])
  })

  test('a read lost with its connection is sent again', () => {
    const s = setUp()
    const answers = s.get('a')
    s.clock.turn()
    s.calls.last.reply(undefined)
    s.clock.advance(10)
    expect(nodesOf(s.calls.sent)).toEqual([1, 2])
    s.calls.last.reply(values(s.calls.last.request))
    expect(answers).toEqual([{ version: 1, value: Buffer.from('a') }])
  })

  test('the deadline passes while a write is with the leader: unknown, and its slot is free again', () => {
    const s = setUp({ requestsInFlightMax: 1 })
    settle(s, 'a')
    const early = s.put('a', 'v', s.clock.now() + 300)
    s.clock.turn()
    const late = s.put('b')
    s.clock.advance(299)
    expect(early).toEqual([])
    s.clock.advance(60)
    expect(codeOf(early)).toBe('OUTCOME_UNKNOWN')
    expect(s.calls.sent.map(({ request }) => keysOf(request))).toEqual([['a'], ['b']])
    s.calls.sent[0]!.reply(written(s.calls.sent[0]!.request))
    s.calls.sent[1]!.reply(written(s.calls.sent[1]!.request))
    expect(late).toEqual([1])
    expect(early).toHaveLength(1)
    expect(s.router.stats).toMatchObject({ operationsWaiting: 0, operationBytesWaiting: 0, outcomeUnknown: 1 })
  })

  test('the deadline passes while a write waits for another try: surely not written, and never sent afterwards', () => {
    const s = setUp()
    const early = s.put('a', 'v', s.clock.now() + 300)
    const late = s.put('b', 'w')
    s.calls.script = () => refused('not-leader')
    s.clock.advance(360)
    expect(codeOf(early)).toBe('UNAVAILABLE')
    s.calls.script = (_node, request) => written(request, 4)
    s.clock.advance(500)
    expect(late).toEqual([4])
    expect(commandsOf(s.calls.last.request)).toMatchObject([{ kind: 'put', key: 'b', value: Buffer.from('w') }])
  })

  test('a write answered as unknown in time is left out when its batch turns out to be refused', () => {
    const s = setUp()
    const early = s.put('a', 'v', s.clock.now() + 300)
    const late = s.put('b')
    s.clock.advance(400)
    expect(codeOf(early)).toBe('OUTCOME_UNKNOWN')
    s.calls.last.reply(refused('not-leader', 2))
    s.clock.turn()
    expect(keysOf(s.calls.last.request)).toEqual(['b'])
    s.calls.last.reply(written(s.calls.last.request))
    expect(late).toEqual([1])
  })

  test('the deadline of a read is never an unknown outcome, wherever it is', () => {
    const s = setUp()
    const read = s.get('a', s.clock.now() + 100)
    s.clock.advance(200)
    expect(codeOf(read)).toBe('UNAVAILABLE')
    expect(s.calls.sent).toHaveLength(1)
  })

  test('a deadline that has passed before the turn ends sends nothing', () => {
    const s = setUp()
    const answers = s.put('a', 'v', s.clock.now() - 1)
    s.clock.turn()
    expect(codeOf(answers)).toBe('UNAVAILABLE')
    expect(s.calls.sent).toEqual([])
  })

  test('impatient clients do not bring a leader into doubt', () => {
    const s = setUp({ requestsInFlightMax: 2 })
    settle(s, 'a')
    for (let i = 0; i < 20; i++) {
      s.get(`${i}`, s.clock.now() + 1)
      s.clock.advance(100)
    }
    expect(s.router.leaderOf(5)).toBe(1)
    expect(s.calls.sent).toHaveLength(20)
  })
})

describe('bounds', () => {
  test('too many operations or bytes are refused at once, until others are answered', () => {
    const s = setUp({ operationsMax: 3, operationBytesMax: 20 })
    const waiting = [s.put('a', '12345678'), s.put('b', '12345678')]
    expect(codeOf(s.put('c', '123'))).toBe('OVERLOADED')
    expect(s.get('c')).toEqual([])
    expect(codeOf(s.get('d'))).toBe('OVERLOADED')
    s.calls.script = (_node, request) => success(request)
    s.clock.turn()
    expect(waiting).toEqual([[1], [1]])
    expect(s.router.stats).toMatchObject({ operationsWaiting: 0, operationBytesWaiting: 0, overloaded: 2 })
    expect(s.get('d')).toEqual([])
  })

  test('an answered operation makes room for what its callback begins', () => {
    const s = setUp({ operationsMax: 2 })
    s.calls.script = (_node, request) => success(request)
    const answers: unknown[] = []
    const next = (error?: unknown): void => {
      answers.push(error)
      if (answers.length < 10) s.router.put('a', Buffer.from('v'), s.clock.now() + 1000, next)
    }
    for (let i = 0; i < 2; i++) s.router.put('a', Buffer.from('v'), s.clock.now() + 1000, next)
    s.clock.turn()
    expect(answers.filter((error) => error !== undefined)).toEqual([])
    expect(answers.length).toBeGreaterThanOrEqual(10)
  })

  test('keys and values above their limits are refused', () => {
    const s = setUp()
    expect(codeOf(s.put('k'.repeat(4096 + 66)))).toBeUndefined()
    expect(codeOf(s.put('k'.repeat(4096 + 67)))).toBe('KEY_TOO_LARGE')
    expect(codeOf(s.get('k'.repeat(4096 + 67)))).toBe('KEY_TOO_LARGE')
    expect(codeOf(s.delete('k'.repeat(4096 + 67)))).toBe('KEY_TOO_LARGE')
    expect(codeOf(s.put('k', 'v'.repeat(VALUE_BYTES_MAX + 1)))).toBe('VALUE_TOO_LARGE')
    const answers = s.put('k', 'v'.repeat(VALUE_BYTES_MAX))
    s.calls.script = (_node, request) => success(request)
    s.clock.turn()
    expect(answers).toEqual([1])
    expect(s.router.stats).toMatchObject({ operationsWaiting: 0, operationBytesWaiting: 0 })
  })

  test('an idle router holds no timer', () => {
    const s = setUp()
    settle(s, 'a')
    s.clock.advance(100)
    expect(s.clock.pendingTimers).toBe(0)
  })
})

describe('ranges that change', () => {
  test('a mismatch brings the new ranges: one redirect, commands in order', () => {
    const s = setUp()
    settle(s, 'a')
    const answers = ['a', 'z', 'b', 'y', 'a'].map((key, i) => s.put(key, `${i}`))
    s.clock.turn()
    const children = [range({ rangeId: 5, end: 'm', version: 2 }), range({ rangeId: 6, start: 'm', version: 2 })]
    s.calls.last.reply(refused('epoch-mismatch', 1, children))
    s.clock.turn()
    const [, left, right] = s.calls.sent
    expect([left!.node, left!.request.rangeId, right!.node, right!.request.rangeId]).toEqual([1, 5, 1, 6])
    const textOf = ({ request }: Sent) =>
      commandsOf(request).map((command) => `${command.key}=${command.kind === 'put' ? command.value : ''}`)
    expect(textOf(left!)).toEqual(['a=0', 'b=2', 'a=4'])
    expect(textOf(right!)).toEqual(['z=1', 'y=3'])
    left!.reply(written(left!.request, 2))
    right!.reply(written(right!.request, 3))
    expect(answers).toEqual([[2], [3], [2], [3], [2]])
    expect(s.router.stats).toMatchObject({ operationsWaiting: 0, operationBytesWaiting: 0 })
  })

  test('reads and scans are routed anew as well', async () => {
    const s = setUp()
    settle(s, 'a')
    const read = s.get('z')
    const scan = s.router.scan(
      { start: 'a', end: 'z', reverse: false, limit: 10, bytesMax: 1000, values: true, at: 0 },
      s.clock.now() + 1000,
    )
    s.clock.turn()
    const children = [range({ rangeId: 5, end: 'm', version: 2 }), range({ rangeId: 6, start: 'm', version: 2 })]
    for (const sent of s.calls.sent.splice(0)) sent.reply(refused('epoch-mismatch', 1, children))
    s.calls.script = (_node, request) => success(request)
    s.clock.turn()
    expect(read).toHaveLength(1)
    expect(await scan).toEqual({ entries: [], more: false, at: 77 })
    expect(s.calls.sent.map(({ request }) => `${request.kind} ${request.rangeId}`).sort()).toEqual([
      'read 6',
      'scan 5',
      'scan 6',
    ])
  })

  test('a mismatch without news is retried with pauses', () => {
    const s = setUp()
    settle(s, 'a')
    s.calls.script = () => refused('epoch-mismatch', 1, [range({ rangeId: 5, version: 1 })])
    const answers = s.put('a')
    s.clock.advance(2000)
    expect(s.calls.sent.length).toBeLessThan(20)
    s.clock.advance(3100)
    expect(codeOf(answers)).toBe('UNAVAILABLE')
  })

  const left = range({ rangeId: 5, end: 'm', version: 2 })
  const right = range({ rangeId: 6, start: 'm', version: 2 })
  test.each([
    ['left first', [left, right]],
    ['right first', [right, left]],
  ])('what waits is routed anew, in order, and never sent to the old range: %s', (_name, news) => {
    const s = setUp({ requestOperationsMax: 2 })
    s.calls.script = () => refused('not-leader')
    const keys = ['a', 'z', 'b', 'y', 'c', 'x', 'd']
    const answers = [...keys.map((key) => s.put(key)), s.get('z')]
    s.clock.turn()
    s.calls.script = (_node, request) => success(request)
    s.calls.sent.length = 0
    s.router.learn(news)
    s.clock.advance(20)
    expect(answers.map(({ length }) => length)).toEqual(answers.map(() => 1))
    const writes = s.calls.sent.filter(({ request }) => request.kind === 'write')
    const keysIn = (rangeId: number): string[] =>
      writes.filter(({ request }) => request.rangeId === rangeId).flatMap(({ request }) => keysOf(request))
    expect([keysIn(5), keysIn(6)]).toEqual([
      ['a', 'b', 'c', 'd'],
      ['z', 'y', 'x'],
    ])
    expect(new Set(s.calls.sent.map(({ request }) => epochOf(request)))).toEqual(new Set([2]))
  })

  test('a range cut out of another is first asked for where that one was led', () => {
    const s = setUp()
    settleOn(s, 2)
    s.router.learn([range({ rangeId: 5, end: 'm', version: 2 }), range({ rangeId: 6, start: 'm', version: 2 })])
    s.put('z')
    s.clock.turn()
    expect(nodesOf(s.calls.sent)).toEqual([2])
  })

  test('a refusal that comes too late for its operations teaches the new ranges all the same', () => {
    const s = setUp()
    s.put('a', 'v', s.clock.now() + 100)
    s.clock.advance(200)
    const children = [range({ rangeId: 5, end: 'm', version: 2 }), range({ rangeId: 6, start: 'm', version: 2 })]
    s.calls.last.reply(refused('epoch-mismatch', 1, children))
    expect([...s.router.descriptors()]).toEqual(children)
  })

  test('a merge takes the right range’s waiting operations along', () => {
    const s = setUp({}, halves)
    s.calls.script = () => refused('not-leader')
    const answers = [s.put('a'), s.put('z')]
    s.clock.turn()
    s.calls.script = (_node, request) => success(request)
    s.router.learn([range({ rangeId: 5, version: 2 })])
    s.clock.advance(20)
    expect(answers).toEqual([[1], [1]])
    expect(s.calls.last.request.rangeId).toBe(5)
  })

  test('a change of membership alone disturbs nothing', () => {
    const s = setUp()
    settle(s, 'a')
    s.put('a')
    s.router.learn([range({ rangeId: 5, confVersion: 2 })])
    s.clock.turn()
    expect(s.calls.sent).toHaveLength(1)
    expect(s.router.leaderOf(5)).toBe(1)
  })

  test.each(['az', 'za'])('the key that someone is asked for is one that is still missing: %s', (keys) => {
    const s = setUp({}, [])
    for (const key of keys) s.put(key)
    s.clock.turn()
    s.router.learn([range({ rangeId: 5, end: 'm' })])
    s.clock.advance(100)
    expect(s.missing.at(-1)).toBe('z')
    for (let i = 0; i < 10; i++) {
      s.router.learn([range({ rangeId: 5, end: 'm' })])
      s.clock.turn()
    }
    expect(s.missing.length).toBeLessThan(5)
  })

  test('operations wait for a range that is not known, and someone is asked for it', () => {
    const s = setUp({}, [range({ rangeId: 5, end: 'm' })])
    const early = s.put('z', 'v', s.clock.now() + 100)
    const late = [s.put('zz'), s.get('zz')]
    s.clock.advance(200)
    expect(codeOf(early)).toBe('UNAVAILABLE')
    expect(s.missing.length).toBeGreaterThan(1)
    expect(s.missing.length).toBeLessThan(6)
    s.calls.script = (_node, request) => success(request)
    s.router.learn([range({ rangeId: 6, start: 'm' })])
    s.clock.turn()
    expect(late.map(({ length }) => length)).toEqual([1, 1])
    expect(s.router.stats).toMatchObject({ operationsWaiting: 0, operationBytesWaiting: 0 })
  })
})

describe('scans', () => {
  const plan = { start: 'a', end: 'z', reverse: false, limit: 10, bytesMax: 1000, values: true, at: 0 }

  test('read every range at one snapshot, which is open meanwhile', async () => {
    const s = setUp({}, halves)
    s.calls.script = (_node, request) => success(request)
    const scan = s.router.scan(plan, s.clock.now() + 1000)
    s.clock.advance(10)
    expect(await scan).toEqual({ entries: [], more: false, at: 77 })
    expect(s.calls.sent.map(({ request }) => [request.rangeId, (request as ScanRequest).at])).toEqual([
      [5, 77],
      [6, 77],
    ])
    expect([s.snapshots.opened, s.snapshots.closed]).toEqual([[0], [[77, false]]])
  })

  test('go on at the snapshot that is named, and leave it open while there is more', async () => {
    const s = setUp()
    const entries = [{ key: 'c', version: 1, value: Buffer.alloc(0) }]
    s.calls.script = () => ({ kind: 'scanned', entries, more: true })
    const scan = s.router.scan({ ...plan, limit: 1, at: 33 }, s.clock.now() + 1000)
    s.clock.advance(10)
    expect(await scan).toEqual({ entries, more: true, at: 33 })
    expect([s.snapshots.opened, s.snapshots.closed]).toEqual([[33], [[33, true]]])
  })

  test('behind several prefixes use one snapshot, and leave it open while one of them has more', async () => {
    const s = setUp()
    s.calls.script = (_node, request) => {
      const { start } = request as ScanRequest
      const entries = start.startsWith('q') ? [] : [{ key: `${start}x`, version: 1, value: Buffer.alloc(0) }]
      return { kind: 'scanned', entries, more: start.startsWith('p0') }
    }
    const merged = { ...plan, prefixes: ['p0', 'p1', 'q2'], start: 'b', end: null, limit: 1 }
    const scan = s.router.scanMerged(merged, s.clock.now() + 1000)
    expect(s.router.stats.operationsWaiting).toBe(1)
    s.clock.advance(100)
    expect(await scan).toMatchObject({ entries: [{ key: 'p0bx' }], more: true, at: 77 })
    expect(s.calls.sent.map(({ request }) => (request as ScanRequest).at)).toEqual([77, 77, 77])
    expect([s.snapshots.opened, s.snapshots.closed]).toEqual([[0], [[77, true]]])
    expect([s.router.stats.operationsWaiting, s.router.stats.scans]).toEqual([0, 1])
  })

  test('end when the snapshot has expired', async () => {
    const s = setUp()
    s.calls.script = () => refused('snapshot-expired', 1)
    const scan = s.router.scan({ ...plan, at: 33 }, s.clock.now() + 1000)
    s.clock.advance(10)
    await expect(scan).rejects.toMatchObject({ code: 'SNAPSHOT_EXPIRED' })
    expect(s.snapshots.closed).toEqual([[33, false]])
    expect(s.router.stats.operationsWaiting).toBe(0)
  })

  test.each([-1, 1.5, Number.NaN])('refuse %d as a snapshot', async (at) => {
    const s = setUp()
    await expect(s.router.scan({ ...plan, at }, 1000)).rejects.toMatchObject({ code: 'BAD_REQUEST' })
  })
})

describe('timestamps', () => {
  const system = [range({ rangeId: 1, end: '\x01' }), range({ rangeId: 5, start: '\x01' })]

  test('are asked of the leader of the system range; each sending is prepared anew', () => {
    const s = setUp({}, system)
    const asked: number[] = []
    const answers: unknown[] = []
    const prepare = () => ({ replicaId: 7, term: 4, count: asked.push(s.clock.now()), oldestSnapshot: 3 })
    s.router.askTimestamps(prepare, s.clock.now() + 1000, (error, reply) => answers.push(error?.code ?? reply))
    expect(asked).toEqual([])
    s.clock.turn()
    const first = s.calls.last
    expect(first.request).toEqual({
      kind: 'timestamps',
      rangeId: 1,
      nodeId: 1,
      replicaId: 7,
      term: 4,
      count: 1,
      oldestSnapshot: 3,
    })
    first.reply(refused('not-leader', 3))
    s.clock.turn()
    expect([s.calls.last.node, (s.calls.last.request as TimestampsRequest).count]).toEqual([3, 2])
    // An answer to an earlier sending is not for those who came since.
    first.reply({ kind: 'timestamps', first: 5, safePoint: 1 })
    expect(answers).toEqual([])
    s.calls.last.reply({ kind: 'timestamps', first: 9, safePoint: 2 })
    expect(answers).toEqual([{ kind: 'timestamps', first: 9, safePoint: 2 }])
    s.clock.advance(100)
    expect(s.clock.pendingTimers).toBe(0)
  })

  test('are asked for while the router drains, and not when it is closed; their deadline is kept', async () => {
    const s = setUp({}, system)
    await s.router.drain()
    const codes: unknown[] = []
    const ask = (): void => {
      const prepare = () => ({ replicaId: 0, term: 0, count: 1, oldestSnapshot: 0 })
      s.router.askTimestamps(prepare, s.clock.now() + 100, (error) => codes.push(error?.code))
    }
    ask()
    s.clock.advance(200)
    expect(codes).toEqual(['UNAVAILABLE'])
    ask()
    s.router.close()
    ask()
    expect(codes).toEqual(['UNAVAILABLE', 'UNAVAILABLE', 'CLOSED'])
  })

  test('follow the system range when its epoch changes', () => {
    const s = setUp({}, system)
    const answers: unknown[] = []
    const prepare = () => ({ replicaId: 0, term: 0, count: 1, oldestSnapshot: 0 })
    s.calls.script = (_node, request) => (request.kind === 'timestamps' ? refused('not-leader') : undefined)
    s.router.askTimestamps(prepare, s.clock.now() + 5000, (_error, reply) => answers.push(reply))
    s.clock.turn()
    s.calls.script = () => ({ kind: 'timestamps', first: 9, safePoint: 2 })
    s.router.learn([range({ rangeId: 1, end: '\x01', version: 2 })])
    s.clock.advance(300)
    expect(answers).toHaveLength(1)
  })
})

describe('the end', () => {
  test('draining refuses new operations and waits for the others', async () => {
    const s = setUp()
    const answers = s.put('a')
    const drained = s.router.drain()
    let isDrained = false
    void drained.then(() => {
      isDrained = true
    })
    expect(codeOf(s.put('b'))).toBe('CLOSED')
    expect(codeOf(s.get('b'))).toBe('CLOSED')
    const plan = { start: '', end: null, reverse: false, limit: 1, bytesMax: 1, values: true, at: 0 }
    await expect(s.router.scan(plan, 0)).rejects.toMatchObject({ code: 'CLOSED' })
    s.clock.turn()
    expect(isDrained).toBe(false)
    s.calls.last.reply(refused('not-leader', 2))
    s.clock.turn()
    s.calls.last.reply(written(s.calls.last.request))
    await drained
    expect(answers).toEqual([1])
    await s.router.drain()
  })

  test('closing answers everything at once and leaves no timer', async () => {
    const s = setUp({}, halves)
    settle(s, 'z')
    const sent = s.put('z')
    s.clock.turn()
    s.calls.script = () => refused('not-leader')
    const waiting = s.put('a')
    const scan = s.router.scan(
      { start: 'a', end: null, reverse: false, limit: 1, bytesMax: 1, values: true, at: 0 },
      s.clock.now() + 1000,
    )
    s.clock.turn()
    const drained = s.router.drain()
    s.router.close()
    await drained
    expect([codeOf(sent), codeOf(waiting)]).toEqual(['OUTCOME_UNKNOWN', 'UNAVAILABLE'])
    await expect(scan).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    expect(s.clock.pendingTimers).toBe(0)
  })
})
