import { Buffer } from 'node:buffer'
import { type Key, SeededRandom } from '@cordillera/base'
import type { EngineBatch, EngineIterator, StateEngine } from './state-engine.js'

/**
 * What every {@link StateEngine} must do, as tests that each implementation runs against itself:
 *
 * ```ts
 * stateEngineContract({ describe, it, expect }, 'memory', async () => …)
 * ```
 *
 * The test functions are handed in, so that this package needs no test runner to be installed. Contracts about crashes
 * are the implementation's to test.
 */
export interface ContractTools {
  describe(name: string, body: () => void): void
  it(name: string, body: () => Promise<void>): void
  expect(actual: unknown): ContractExpectation
}

export interface ContractExpectation {
  toBe(expected: unknown): void
  toEqual(expected: unknown): void
  readonly rejects: { toThrow(): Promise<void> }
}

/** An empty database of its own for a test. */
export interface EngineUnderTest {
  /** Opens it, and again after the engine of the last call was closed. */
  open(): Promise<StateEngine>
  /** Called at the end of a test, the last engine being closed. */
  dispose(): Promise<void>
}

type Entries = (readonly [Key, Uint8Array])[]
type Test = (engine: StateEngine, under: EngineUnderTest) => Promise<void>

export function stateEngineContract(tools: ContractTools, name: string, create: () => Promise<EngineUnderTest>): void {
  const { describe, it, expect } = tools
  const test = (title: string, body: Test): void => {
    it(title, async () => {
      const under = await create()
      const engine = await under.open()
      try {
        await body(engine, under)
      } finally {
        await engine.close()
        await under.dispose()
      }
    })
  }
  describe(`the state engine contract: ${name}`, () => {
    testPoints(test, expect)
    testBatches(test, expect)
    testKeys(test, expect)
    testSpans(test, expect)
    testSnapshots(test, expect)
    testTwin(test, expect)
  })
}

type Define = (title: string, body: Test) => void
type Expect = ContractTools['expect']

function testPoints(test: Define, expect: Expect): void {
  test('an absent key has no value; an empty value is a value', async (engine) => {
    expect(engine.get('a')).toBe(undefined)
    await write(engine, (batch) => batch.put('a', Buffer.alloc(0)))
    expect(engine.get('a')?.length).toBe(0)
    expect(engine.get('')).toBe(undefined)
    expect(engine.get('aa')).toBe(undefined)
  })

  test('what a read returns belongs to the caller', async (engine) => {
    await write(engine, (batch) => batch.put('a', Buffer.from('value')))
    engine.get('a')!.fill(0)
    expect(text(engine.get('a'))).toBe('value')
    const [entry] = await entriesOf(engine, '', null, false)
    entry![1].fill(0)
    expect(text(engine.get('a'))).toBe('value')
  })

  test('values of a mebibyte, and a closed database keeps everything', async (engine, under) => {
    const large = Buffer.alloc(1 << 20, 7)
    await write(engine, (batch) => batch.put('large', large))
    await engine.close()
    await engine.close()
    const again = await under.open()
    try {
      expect(large.equals(again.get('large')!)).toBe(true)
    } finally {
      await again.close()
    }
  })
}

function testBatches(test: Define, expect: Expect): void {
  test('a batch shows nothing before it is written, and then everything', async (engine) => {
    const batch = engine.batch()
    batch.put('a', Buffer.from('1'))
    batch.put('b', Buffer.from('2'))
    expect(engine.get('a')).toBe(undefined)
    await batch.write()
    expect([text(engine.get('a')), text(engine.get('b'))]).toEqual(['1', '2'])
  })

  test('the last write of a key in a batch wins', async (engine) => {
    await write(engine, (batch) => {
      batch.put('a', Buffer.from('1'))
      batch.put('a', Buffer.from('2'))
      batch.delete('b')
      batch.put('b', Buffer.from('3'))
      batch.put('c', Buffer.from('4'))
      batch.delete('c')
    })
    expect([text(engine.get('a')), text(engine.get('b')), engine.get('c')]).toEqual(['2', '3', undefined])
  })

  test('a batch copies values at once', async (engine) => {
    const scratch = Buffer.from('first')
    await write(engine, (batch) => {
      batch.put('a', scratch)
      scratch.write('other')
      batch.put('b', scratch.subarray(0, 2))
      scratch.fill(0)
    })
    expect([text(engine.get('a')), text(engine.get('b'))]).toEqual(['first', 'ot'])
  })

  test('deleting what is not there, and writing nothing, are no errors', async (engine) => {
    await write(engine, (batch) => batch.delete('nothing'))
    await write(engine, () => {})
    expect(await entriesOf(engine, '', null, false)).toEqual([])
  })

  test('batches written without waiting apply in order', async (engine) => {
    const writes: Promise<void>[] = []
    for (let i = 0; i < 20; i++) {
      const batch = engine.batch()
      batch.put('a', Buffer.from(`${i}`))
      writes.push(batch.write())
    }
    await Promise.all(writes)
    expect(text(engine.get('a'))).toBe('19')
  })
}

function testKeys(test: Define, expect: Expect): void {
  test('keys of any bytes are told apart, ordered as bytes and returned unchanged', async (engine) => {
    const keys: Key[] = []
    for (let byte = 0; byte < 256; byte++) {
      const char = String.fromCharCode(byte)
      keys.push(char, `${char}\x00`, `${char}\x7f`, `${char}\x80`, `${char}\xff`)
    }
    await write(engine, (batch) => {
      for (const key of keys) batch.put(key, Buffer.from(key, 'latin1'))
    })
    for (const key of keys) expect(engine.get(key)?.toString()).toBe(Buffer.from(key, 'latin1').toString())
    const found = await entriesOf(engine, '', null, false)
    expect(found.map(([key]) => key)).toEqual([...keys].sort())
    for (const [key, value] of found) expect(Buffer.from(value).toString('latin1')).toBe(key)
  })

  test('a key is never mistaken for a shorter one, whatever was read before', async (engine) => {
    const lengths = [1, 2, 31, 32, 33, 40, 63, 64, 65, 66, 127, 500, 2081, 4162]
    const keys = lengths.flatMap((length) => ['a'.repeat(length), '\xe9'.repeat(length), `a${'\xe9'.repeat(length)}`])
    await write(engine, (batch) => {
      for (let length = 1; length < 600; length++) {
        batch.put('\xe9'.repeat(length), Buffer.from('present'))
        batch.put(`a${'\xe9'.repeat(length)}`, Buffer.from('present'))
      }
      for (const key of keys) batch.put(key, Buffer.from(`${key.length}`))
    })
    for (const key of keys) expect(text(engine.get(key))).toBe(`${key.length}`)
  })
}

function testSpans(test: Define, expect: Expect): void {
  const keysOf = async (engine: StateEngine, start: Key, end: Key | null, reverse: boolean): Promise<Key[]> =>
    (await entriesOf(engine, start, end, reverse)).map(([key]) => key)

  test('a span includes its start and excludes its end, in both directions', async (engine) => {
    await write(engine, (batch) => {
      for (const key of ['a', 'b', 'b\x00', 'c', '\xff\xff']) batch.put(key, Buffer.from(key))
    })
    expect(await keysOf(engine, 'b', 'c', false)).toEqual(['b', 'b\x00'])
    expect(await keysOf(engine, 'b', 'c', true)).toEqual(['b\x00', 'b'])
    expect(await keysOf(engine, 'a\x00', null, false)).toEqual(['b', 'b\x00', 'c', '\xff\xff'])
    expect(await keysOf(engine, '', null, true)).toEqual(['\xff\xff', 'c', 'b\x00', 'b', 'a'])
    expect(await keysOf(engine, '', '', false)).toEqual([])
    expect(await keysOf(engine, 'c', 'b', false)).toEqual([])
    expect(await keysOf(engine, 'c', 'b', true)).toEqual([])
    expect(await keysOf(engine, 'd', 'e', true)).toEqual([])
  })

  test('an iterator gives at least one and at most as many entries as asked for, then none', async (engine) => {
    await write(engine, (batch) => {
      for (let i = 0; i < 100; i++) batch.put(`k${100 + i}`, Buffer.alloc(5000, i))
    })
    const snapshot = engine.snapshot()
    const iterator = snapshot.iterate({ start: '', end: null, reverse: false })
    let count = 0
    for (let ask = 1; count < 100; ask = (ask % 7) + 1) {
      const chunk = await iterator.next(ask)
      expect(chunk.length >= 1 && chunk.length <= ask).toBe(true)
      for (const [key, value] of chunk) {
        expect(key).toBe(`k${100 + count}`)
        expect(value.length === 5000 && value[0] === count).toBe(true)
        count++
      }
    }
    expect(await iterator.next(5)).toEqual([])
    expect(await iterator.next(5)).toEqual([])
    await iterator.close()
    await iterator.close()
    await snapshot.close()
    await snapshot.close()
  })
}

function testSnapshots(test: Define, expect: Expect): void {
  test('a snapshot does not change, and all its iterators agree', async (engine) => {
    await write(engine, (batch) => {
      for (const key of ['a', 'b', 'c']) batch.put(key, Buffer.from('old'))
    })
    const snapshot = engine.snapshot()
    const early = snapshot.iterate({ start: '', end: null, reverse: false })
    await write(engine, (batch) => {
      batch.put('a', Buffer.from('new'))
      batch.delete('b')
      batch.put('d', Buffer.from('new'))
    })
    const late = snapshot.iterate({ start: '', end: null, reverse: true })
    const old = ['a', 'b', 'c'].map((key) => [key, 'old'])
    expect(readable(await drained(early))).toEqual(old)
    expect(readable(await drained(late))).toEqual(old.reverse())
    await Promise.all([early.close(), late.close()])
    await snapshot.close()
    const now = readable(await entriesOf(engine, '', null, false))
    expect(now).toEqual([
      ['a', 'new'],
      ['c', 'old'],
      ['d', 'new'],
    ])
  })

  test('a closed engine refuses to write', async (engine) => {
    const batch = engine.batch()
    batch.put('a', Buffer.from('1'))
    await engine.close()
    await expect((async () => batch.write())()).rejects.toThrow()
  })
}

function testTwin(test: Define, expect: Expect): void {
  test('equals a naive twin over random batches, reads and spans, across reopening', async (engine, under) => {
    const random = new SeededRandom(7)
    const twin = new Map<Key, string>()
    let current = engine
    const anyKey = (): Key => {
      let key = ''
      for (let length = random.below(4); length > 0; length--) key += ALPHABET[random.below(ALPHABET.length)]
      return `k${key}`
    }
    try {
      for (let round = 0; round < 60; round++) {
        await write(current, (batch) => {
          for (let i = random.below(12); i > 0; i--) {
            const key = anyKey()
            if (random.below(3) === 0) {
              twin.delete(key)
              batch.delete(key)
            } else {
              const value = `${round}.${i}`
              twin.set(key, value)
              batch.put(key, Buffer.from(value))
            }
          }
        })
        for (let i = 0; i < 5; i++) {
          const key = anyKey()
          expect(text(current.get(key))).toBe(twin.get(key))
          const [start, end, reverse] = [anyKey(), random.below(4) === 0 ? null : anyKey(), random.below(2) === 0]
          const expected = [...twin].filter(([k]) => k >= start && (end === null || k < end)).sort(byKey)
          const found = await entriesOf(current, start, end, reverse)
          expect(readable(found)).toEqual(reverse ? expected.reverse() : expected)
        }
        if (round % 20 !== 19) continue
        await current.close()
        current = await under.open()
      }
    } finally {
      await current.close()
    }
  })
}

const ALPHABET = ['\x00', 'a', 'b', '\x7f', '\x80', '\xe9', '\xff']

function byKey(a: readonly [Key, string], b: readonly [Key, string]): number {
  return a[0] < b[0] ? -1 : 1
}

async function write(engine: StateEngine, fill: (batch: EngineBatch) => void): Promise<void> {
  const batch = engine.batch()
  fill(batch)
  await batch.write()
}

async function entriesOf(engine: StateEngine, start: Key, end: Key | null, reverse: boolean): Promise<Entries> {
  const snapshot = engine.snapshot()
  const iterator = snapshot.iterate({ start, end, reverse })
  try {
    return await drained(iterator)
  } finally {
    await iterator.close()
    await snapshot.close()
  }
}

async function drained(iterator: EngineIterator): Promise<Entries> {
  const entries: Entries = []
  for (;;) {
    const chunk = await iterator.next(3)
    if (chunk.length === 0) return entries
    entries.push(...chunk)
  }
}

function readable(entries: Entries): [Key, string | undefined][] {
  return entries.map(([key, value]) => [key, text(value)])
}

function text(bytes: Uint8Array | undefined): string | undefined {
  return bytes === undefined ? undefined : Buffer.from(bytes).toString()
}
