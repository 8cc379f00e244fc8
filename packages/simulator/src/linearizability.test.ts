import { SeededRandom } from '@cordillera/base'
import { expect, test } from 'vitest'
import { checkLinearizable } from './linearizability.js'
import type { Operation } from './operation.js'

const FOREVER = Number.POSITIVE_INFINITY

/** `put a 1-3`, `get a 4-5`, `get - 4-5` (nothing), `get '' 4-5`, `delete 4-?`; one client an operation. */
function history(...lines: string[]): Operation[] {
  return lines.map((line, client) => {
    const parts = line.split(' ')
    const [kind, shown] = [parts[0] as Operation['kind'], parts.length === 3 ? parts[1]! : '-']
    const [invoked, returned] = parts.at(-1)!.split('-')
    const value = shown === '-' ? null : shown === "''" ? '' : shown
    return {
      client,
      key: 'k',
      kind,
      value,
      invokedAt: Number(invoked),
      returnedAt: returned === '?' ? FOREVER : Number(returned),
    }
  })
}

const bad: [string, string[]][] = [
  ['a stale read', ['put a 1-2', 'put b 3-4', 'get a 5-6']],
  ['a lost write', ['put a 1-2', 'get - 3-4']],
  ['a resurrected delete', ['put a 1-2', 'delete 3-4', 'get - 5-6', 'get a 7-8']],
  ['a deleted value read', ['put a 1-2', 'delete 3-4', 'get a 5-6']],
  ['nothing for the empty value', ["put '' 1-2", 'get - 3-4']],
  ['the empty value for nothing', ['put a 1-2', 'delete 3-4', "get '' 5-6"]],
  ['the empty value before any write', ["get '' 1-2"]],
  ['an unknown write read, then unread', ['put a 1-2', 'put b 3-?', 'get b 4-5', 'get a 6-7']],
  ['an unknown delete read, then unread', ['put a 1-2', 'delete 3-?', 'get - 4-5', 'get a 6-7']],
  ['a value nobody wrote', ['put a 1-2', 'get z 3-4']],
  ['a read from the future', ['get a 1-2', 'put a 3-4']],
  ['a read from an unknown future', ['get a 1-2', 'put a 3-?']],
  ['two readers who disagree', ['put a 1-9', 'put b 1-9', 'get a 10-11', 'get b 12-13', 'get a 14-15']],
  ['one unknown write used twice', ['put a 1-2', 'delete 3-?', 'get - 4-5', 'put b 6-7', 'get - 8-9', 'get b 10-11']],
]

const good: [string, string[]][] = [
  ['nothing at all', []],
  ['a read of nothing', ['get - 1-2']],
  ['a sequence', ['put a 1-2', 'get a 3-4', 'delete 5-6', 'get - 7-8', "put '' 9-10", "get '' 11-12"]],
  ['a read during a write, either way', ['put a 1-2', 'put b 3-8', 'get a 4-5', 'get b 6-7']],
  ['concurrent writes, read in either order', ['put a 1-9', 'put b 1-9', 'get b 2-3', 'get a 4-5']],
  ['touching intervals are concurrent', ['put a 1-2', 'put b 2-3', 'get a 4-5']],
  ['an unknown write that never was', ['put a 1-2', 'put b 3-?', 'get a 4-5', 'get a 6-7']],
  ['an unknown write that took effect late', ['put a 1-2', 'put b 3-?', 'get a 4-5', 'put c 6-7', 'get b 8-9']],
  ['an unknown read', ['put a 1-2', 'get - 3-?', 'get a 4-5']],
  ['two unknown deletes', ['delete 1-?', 'delete 2-?', 'put a 3-4', 'get - 5-6', 'put b 7-8', 'get - 9-10']],
]

test.each(bad)('%s is found', (_name, lines) => {
  const verdict = checkLinearizable(history(...lines))
  expect(verdict).toMatchObject({ ok: false, key: 'k' })
})

test.each(good)('%s is accepted', (_name, lines) => {
  expect(checkLinearizable(history(...lines))).toEqual({ ok: true })
})

test('keys are independent, and the guilty one is named', () => {
  const fine = history('put a 1-2', 'get a 3-4')
  const guilty = history('put a 1-2', 'get - 3-4').map((operation) => ({ ...operation, key: 'guilty' }))
  const verdict = checkLinearizable([...fine, ...guilty])
  expect(verdict).toMatchObject({
    ok: false,
    key: 'guilty',
    detail: expect.stringContaining('get=nothing [3, 4] still waits'),
  })
})

test('agrees with trying every order, on tiny histories', () => {
  const random = new SeededRandom(7)
  const verdicts = { true: 0, false: 0 }
  for (let round = 0; round < 20_000; round++) {
    const operations = randomHistory(random, 1 + random.below(6))
    const expected = naive(operations)
    verdicts[`${expected}`]++
    expect(checkLinearizable(operations).ok, JSON.stringify(operations)).toBe(expected)
  }
  expect(verdicts.true).toBeGreaterThan(2_000)
  expect(verdicts.false).toBeGreaterThan(2_000)
})

test.each([
  { count: 5_000, equalPercent: 0, unknownPercent: 5 },
  { count: 300, equalPercent: 50, unknownPercent: 2 },
])(
  '$count operations on one key, ten at a time, $equalPercent % equal values',
  (shape) => {
    const random = new SeededRandom(3)
    const operations = execute(random, shape.count, 10, shape.equalPercent, shape.unknownPercent)
    expect(checkLinearizable(operations)).toEqual({ ok: true })
    const at = operations.findIndex((operation, index) => index > shape.count * 0.8 && operation.kind === 'get')
    const spoiled = operations.map((operation, index) => (index === at ? { ...operation, value: 'never' } : operation))
    expect(checkLinearizable(spoiled).ok).toBe(false)
  },
  5_000,
)

function randomHistory(random: SeededRandom, count: number): Operation[] {
  const values = [null, '', 'a', 'b']
  return Array.from({ length: count }, (_, client) => {
    const kind = (['put', 'delete', 'get', 'get'] as const)[random.below(4)]!
    const value = kind === 'delete' ? null : kind === 'put' ? values[1 + random.below(3)]! : values[random.below(4)]!
    const invokedAt = random.below(12)
    const returnedAt = random.below(4) === 0 ? FOREVER : invokedAt + 1 + random.below(6)
    return { client, key: 'k', kind, value, invokedAt, returnedAt }
  })
}

/** By the definition: some order of the known operations and any of the unknown ones. */
function naive(operations: readonly Operation[], value: string | null = null): boolean {
  if (operations.every(({ returnedAt }) => returnedAt === FOREVER)) return true
  return operations.some((operation, at) => {
    if (operations.some(({ returnedAt }) => returnedAt < operation.invokedAt)) return false
    const rest = operations.filter((_, index) => index !== at)
    if (operation.kind !== 'get') return naive(rest, operation.value)
    return (operation.returnedAt === FOREVER || operation.value === value) && naive(rest, value)
  })
}

/** A history that a true register gave: every operation takes effect somewhere in its interval. */
function execute(random: SeededRandom, count: number, clients: number, equalPercent: number, unknownPercent: number) {
  const operations: Operation[] = []
  const busy: { client: number; kind: Operation['kind']; value: string | null; invokedAt: number; done: boolean }[] = []
  let value: string | null = null
  for (let now = 0; operations.length < count; now++) {
    const client = random.below(clients)
    const at = busy.findIndex((operation) => operation.client === client)
    const current = busy[at]
    if (current === undefined) {
      const kind = (['put', 'put', 'delete', 'get', 'get', 'get'] as const)[random.below(6)]!
      const written = random.below(100) < equalPercent ? `same${random.below(3)}` : `v${now}`
      busy.push({ client, kind, value: kind === 'put' ? written : null, invokedAt: now, done: false })
    } else if (!current.done && random.below(2) === 0) {
      if (current.kind === 'get') current.value = value
      else value = current.value
      current.done = true
    } else {
      const isUnknown = !current.done || random.below(100) < unknownPercent
      if (!current.done && random.below(100) >= unknownPercent) continue
      const { kind, invokedAt } = current
      const returnedAt = isUnknown ? FOREVER : now
      operations.push({ client, key: 'k', kind, value: current.value, invokedAt, returnedAt })
      busy.splice(at, 1)
    }
  }
  for (const { client, kind, value, invokedAt } of busy) {
    operations.push({ client, key: 'k', kind, value, invokedAt, returnedAt: FOREVER })
  }
  return operations
}
