import { CordilleraError, type ErrorCode, type Key, keyToBytes, ManualClock, silentLogger } from '@cordillera/base'
import { systemKey } from '@cordillera/ranges'
import type { Done, Router, ScanPlan, ScanResult } from '@cordillera/router'
import { describe, expect, it } from 'vitest'
import { NodeRegistry, type Registration } from './node-registry.js'

const registration = (nodeId: number, incarnation = 1): Registration => ({
  nodeId,
  incarnation,
  peerAddress: `n${nodeId}:7100`,
  httpAddress: `n${nodeId}:7070`,
  locality: 'zone=a',
})

/** A system range that answers, or fails, as the test says. */
class FakeRange implements Pick<Router, 'put' | 'scan'> {
  readonly values = new Map<Key, Uint8Array>()
  readonly #clock: ManualClock
  /** Codes of the next operations; then all succeed. */
  failures: ErrorCode[] = []
  puts = 0
  scans = 0

  constructor(clock: ManualClock) {
    this.#clock = clock
  }

  put(key: Key, value: Uint8Array, deadlineMs: number, done: Done<number>): void {
    this.puts++
    expect(deadlineMs).toBeGreaterThan(this.#clock.now())
    const copy = Uint8Array.from(value)
    this.#clock.after(5, () => {
      const error = this.#takeFailure()
      // Outcome unknown: this time it was written.
      if (error === undefined || error.code === 'OUTCOME_UNKNOWN') this.values.set(key, copy)
      done(error, error === undefined ? 1 : 0)
    })
  }

  scan({ start, end }: ScanPlan): Promise<ScanResult> {
    this.scans++
    return new Promise((resolve, reject) => {
      this.#clock.after(5, () => {
        const error = this.#takeFailure()
        if (error !== undefined) return reject(error)
        const keys = [...this.values.keys()].sort().filter((key) => key >= start && (end === null || key < end))
        resolve({ entries: keys.map((key) => ({ key, version: 1, value: this.values.get(key)! })), more: false, at: 1 })
      })
    })
  }

  #takeFailure(): CordilleraError | undefined {
    const code = this.failures.shift()
    return code === undefined ? undefined : new CordilleraError(code)
  }
}

function world() {
  const clock = new ManualClock()
  const range = new FakeRange(clock)
  return { clock, range, registry: new NodeRegistry({ router: range, clock, logger: silentLogger }) }
}

describe('the registry of nodes', () => {
  it('lists what nodes registered, in the system range', async () => {
    const { clock, range, registry } = world()
    expect(registry.known()).toEqual([])
    for (const nodeId of [2, 10, 1]) {
      await clock.run(new Promise<void>((resolve) => registry.register(registration(nodeId), resolve)))
    }
    await clock.run(new Promise<void>((resolve) => registry.refresh(resolve)))
    expect(registry.known()).toEqual([1, 2, 10].map((nodeId) => registration(nodeId)))
    expect([...range.values.keys()].every((key) => key.startsWith('\x00'))).toBe(true)
  })

  it('registers again and again until it is done, and then no more', async () => {
    const { clock, range, registry } = world()
    range.failures = ['UNAVAILABLE', 'OUTCOME_UNKNOWN', 'OVERLOADED']
    let done = 0
    registry.register(registration(1), () => done++)
    await clock.drain()
    expect([done, range.puts]).toEqual([1, 4])
  })

  it('registers a later start over an earlier one', async () => {
    const { clock, registry } = world()
    for (const incarnation of [1, 2]) {
      await clock.run(new Promise<void>((resolve) => registry.register(registration(1, incarnation), resolve)))
    }
    await clock.run(new Promise<void>((resolve) => registry.refresh(resolve)))
    expect(registry.known()).toEqual([registration(1, 2)])
  })

  it('keeps what was read last when the range cannot be read, and reads it again later', async () => {
    const { clock, range, registry } = world()
    await clock.run(new Promise<void>((resolve) => registry.register(registration(1), resolve)))
    await clock.run(new Promise<void>((resolve) => registry.refresh(resolve)))
    range.values.clear()
    range.failures = ['UNAVAILABLE']
    let isRead = false
    const onRead = (): void => {
      isRead = true
    }
    registry.refresh(onRead)
    await clock.drain()
    expect([isRead, registry.known().length]).toEqual([false, 1])
    registry.refresh(onRead)
    await clock.drain()
    expect([isRead, registry.known().length]).toEqual([true, 0])
  })

  it('has one read under way at most', async () => {
    const { clock, range, registry } = world()
    let read = 0
    for (let i = 0; i < 5; i++) registry.refresh(() => read++)
    await clock.drain()
    expect([range.scans, read]).toEqual([1, 1])
  })

  it('does nothing more once it is closed', async () => {
    const { clock, range, registry } = world()
    range.failures = ['UNAVAILABLE', 'UNAVAILABLE']
    let calls = 0
    registry.register(registration(1), () => calls++)
    registry.refresh(() => calls++)
    // Both have failed; the registration waits for its next attempt.
    await clock.drain(2)
    expect(range.failures).toEqual([])
    registry.close()
    registry.refresh(() => calls++)
    await clock.drain()
    expect([calls, range.puts, range.scans]).toEqual([0, 1, 1])
  })

  it('calls nobody back about what ends after it was closed', async () => {
    const { clock, registry } = world()
    let calls = 0
    registry.register(registration(1), () => calls++)
    registry.refresh(() => calls++)
    registry.close()
    await clock.drain()
    expect(calls).toBe(0)
  })

  it('leaves out what is no registration, and what is under the key of another', async () => {
    const { clock, range, registry } = world()
    const write = (nodeId: number, text: string): void => {
      range.values.set(systemKey('node', nodeId), keyToBytes(text))
    }
    const valid = registration(1)
    const invalid: unknown[] = [
      null,
      [],
      3,
      'node',
      { ...valid, nodeId: '1' },
      { ...valid, nodeId: -1 },
      { ...valid, incarnation: 1.5 },
      { ...valid, incarnation: 0 },
      { ...valid, peerAddress: undefined },
      { ...valid, httpAddress: 7 },
      { ...valid, locality: null },
    ]
    write(1, JSON.stringify(valid))
    for (const [i, value] of invalid.entries()) write(100 + i, JSON.stringify(value))
    write(2, '{"nodeId":')
    write(3, '\xff\xfe')
    write(4, JSON.stringify(registration(5)))
    range.values.set(`${systemKey('node', 6)}more`, keyToBytes(JSON.stringify(registration(6))))
    await clock.run(new Promise<void>((resolve) => registry.refresh(resolve)))
    expect(registry.known()).toEqual([valid])
  })
})
