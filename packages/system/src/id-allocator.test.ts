import { CordilleraError, type Key, ManualClock, type Version } from '@cordillera/base'
import type { WriteGuard } from '@cordillera/ranges'
import { expect, it } from 'vitest'
import { IdAllocator } from './id-allocator.js'

type Outcome = 'written' | 'unknown' | 'unknown-written'

/** One key, whose conditional writes end as the script says. */
class OneKey {
  value: { version: Version; value: Uint8Array } | undefined
  outcomes: Outcome[] = []
  #version = 10

  get(_key: Key, _deadline: number, done: (error: undefined, value: OneKey['value']) => void): void {
    done(undefined, this.value)
  }

  put(
    _key: Key,
    value: Uint8Array,
    _deadline: number,
    done: (error: CordilleraError | undefined, version: Version) => void,
    guard?: WriteGuard,
  ): void {
    const outcome = this.outcomes.shift() ?? 'written'
    const isMet = guard?.ifVersion === (this.value?.version ?? 0)
    if (isMet && outcome !== 'unknown') this.value = { version: ++this.#version, value: Buffer.from(value) }
    if (outcome !== 'written') done(new CordilleraError('OUTCOME_UNKNOWN'), 0)
    else if (isMet) done(undefined, this.#version)
    else done(new CordilleraError('VERSION_MISMATCH'), 0)
  }
}

function allocator(key: OneKey): IdAllocator {
  return new IdAllocator({ router: () => key, clock: new ManualClock(), name: 'replica', first: 52 })
}

it('ids are given out once, by whomever they are asked for', async () => {
  const key = new OneKey()
  const [a, b] = [allocator(key), allocator(key)]
  const ids = await Promise.all([a.allocate(), b.allocate(), a.allocate(), b.allocate(), b.allocate()])
  expect([...ids].sort()).toEqual([52, 53, 54, 55, 56])
  expect(await allocator(key).allocate()).toBe(57)
})

it('an id whose taking has an unknown outcome is never given out by mistake', async () => {
  const key = new OneKey()
  key.outcomes = ['unknown', 'unknown-written']
  expect(await allocator(key).allocate()).toBe(53)
})

it('a counter that is no number is corrupt', async () => {
  const key = new OneKey()
  key.value = { version: 3, value: Buffer.from('many') }
  await expect(allocator(key).allocate()).rejects.toMatchObject({ code: 'CORRUPT' })
})
