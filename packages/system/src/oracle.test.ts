import { type Key, ManualClock, silentLogger, type Version } from '@cordillera/base'
import type { VersionedValue } from '@cordillera/ranges'
import { describe, expect, it } from 'vitest'
import { ORACLE_KEY, Oracle, type OracleLeadership } from './oracle.js'
import { decodeOracleRecord, encodeOracleRecord } from './oracle-record.js'
import { SILENT_MS } from './safe-point-keeper.js'

/** The system range, as far as the oracles of its leaders see it. */
class SystemRange {
  readonly clock = new ManualClock()
  stored: VersionedValue | undefined
  /** Proposals not applied yet; each applies, or never does. */
  readonly proposals: { readonly version: Version; end(isApplied: boolean): void }[] = []
  proposed = 0
  /** Whether proposals apply at once. */
  isPrompt = true
  nodes = [1]

  oracle(span = 100): Oracle {
    return new Oracle({ clock: this.clock, logger: silentLogger, knownNodes: () => this.nodes, span })
  }

  leadership(term: number): OracleLeadership {
    return {
      term,
      get: (key: Key) => (key === ORACLE_KEY ? this.stored : undefined),
      propose: (version, key, value, onEnd) => {
        expect(key).toBe(ORACLE_KEY)
        this.proposed++
        const end = (isApplied: boolean): void => {
          if (isApplied) {
            expect(version).toBeGreaterThan(this.stored?.version ?? 0)
            this.stored = { version, value }
          }
          onEnd(isApplied)
        }
        if (this.isPrompt) end(true)
        else this.proposals.push({ version, end })
      },
    }
  }

  get record() {
    return decodeOracleRecord(this.stored!.value)
  }

  async pass(ms: number): Promise<void> {
    let isOver = false
    this.clock.after(ms, () => {
      isOver = true
    })
    while (!isOver) await this.clock.next()
  }
}

const ask = (count: number, nodeId = 1, oldestSnapshot = 0) => ({ nodeId, count, oldestSnapshot })

describe('the oracle', () => {
  it('gives out numbers from 1, each once, and says for a count of 0 what is above all of them', () => {
    const range = new SystemRange()
    const oracle = range.oracle()
    expect(oracle.issue(ask(1))).toBeUndefined()
    oracle.onLeading(range.leadership(1))
    const first = oracle.issue(ask(3))!.first
    expect(oracle.issue(ask(0))!.first).toBe(first + 3)
    expect(oracle.issue(ask(1))!.first).toBe(first + 3)
    expect(first).toBeGreaterThan(range.stored!.version)
  })

  it('gives out nothing before its bound has applied in its own term', () => {
    const range = new SystemRange()
    range.isPrompt = false
    const oracle = range.oracle()
    oracle.onLeading(range.leadership(1))
    expect(oracle.issue(ask(1))).toBeUndefined()
    range.proposals[0]!.end(true)
    expect(oracle.issue(ask(1))).toBeDefined()
  })

  it('gives out nothing above its bound, and raises it in time', () => {
    const range = new SystemRange()
    const oracle = range.oracle(100)
    oracle.onLeading(range.leadership(1))
    range.isPrompt = false
    let last = 0
    for (;;) {
      const issued = oracle.issue(ask(7))
      if (issued === undefined) break
      last = issued.first + 6
      expect(last).toBeLessThanOrEqual(range.record.bound)
    }
    expect(last).toBeGreaterThan(range.record.bound - 8)
    expect(range.proposals).toHaveLength(1)
    range.proposals[0]!.end(true)
    expect(oracle.issue(ask(7))!.first).toBeGreaterThan(last)
  })

  it('begins above the bound of every earlier one, who may still be at it', () => {
    const range = new SystemRange()
    const [former, latter] = [range.oracle(), range.oracle()]
    former.onLeading(range.leadership(1))
    const early = new Set<number>()
    for (let i = 0; i < 30; i++) early.add(former.issue(ask(1))!.first)
    latter.onLeading(range.leadership(2))
    range.isPrompt = false
    for (let i = 0; i < 30; i++) {
      const late = latter.issue(ask(1))!.first
      const stale = former.issue(ask(1))
      if (stale !== undefined) early.add(stale.first)
      expect(late).toBeGreaterThan(Math.max(...early))
    }
  })

  it('asks again for a bound that was refused, while it leads', async () => {
    const range = new SystemRange()
    range.isPrompt = false
    const oracle = range.oracle()
    oracle.onLeading(range.leadership(1))
    range.proposals[0]!.end(false)
    expect(oracle.issue(ask(1))).toBeUndefined()
    await range.pass(200)
    expect(range.proposals).toHaveLength(2)
    expect(range.proposals[1]!.version).toBeGreaterThan(range.proposals[0]!.version)
    oracle.onLeadingEnded()
    range.proposals[1]!.end(true)
    expect(oracle.issue(ask(1))).toBeUndefined()
    await range.pass(5_000)
    expect(range.proposals).toHaveLength(2)
  })

  it('does not take what an earlier term proposed for its own', () => {
    const range = new SystemRange()
    range.isPrompt = false
    const oracle = range.oracle()
    oracle.onLeading(range.leadership(1))
    const [stale] = range.proposals.splice(0)
    oracle.onLeading(range.leadership(2))
    stale!.end(true)
    expect(oracle.issue(ask(1))).toBeUndefined()
  })

  it('does not trust a record that was altered, or that is not within its own bound', () => {
    const range = new SystemRange()
    const bytes = encodeOracleRecord({ bound: 50, safePoint: 3 })
    expect(decodeOracleRecord(bytes)).toEqual({ bound: 50, safePoint: 3 })
    for (let at = 0; at < bytes.length; at++) {
      const altered = Uint8Array.from(bytes)
      altered[at]! ^= 4
      range.stored = { version: 7, value: altered }
      expect(() => range.oracle().onLeading(range.leadership(1))).toThrow(expect.objectContaining({ code: 'CORRUPT' }))
    }
    range.stored = { version: 51, value: bytes }
    expect(() => range.oracle().onLeading(range.leadership(1))).toThrow('within its own bound')
  })
})

describe('the safe point', () => {
  it('is the least of what the nodes report, is durable before it is said, and never goes back', async () => {
    const range = new SystemRange()
    range.nodes = [1, 2]
    const oracle = range.oracle(1000)
    oracle.onLeading(range.leadership(1))
    oracle.issue(ask(500, 1, 90))
    await range.pass(3_000)
    expect(oracle.issue(ask(0, 1, 90))!.safePoint).toBe(0)
    range.isPrompt = false
    oracle.issue(ask(0, 2, 40))
    await range.pass(1_500)
    expect(oracle.issue(ask(0, 1, 90))!.safePoint).toBe(0)
    range.isPrompt = true
    range.proposals[0]!.end(true)
    expect(oracle.issue(ask(0, 1, 90))!.safePoint).toBe(40)
    oracle.issue(ask(0, 2, 30))
    await range.pass(3_000)
    expect(oracle.issue(ask(0, 2, 80))!.safePoint).toBe(40)
    await range.pass(3_000)
    expect(oracle.issue(ask(0, 1, 90))!.safePoint).toBe(80)
    expect(range.record.safePoint).toBe(80)
  })

  it('waits for every known node after an election, but not for ever, and forgets those that are silent', async () => {
    const range = new SystemRange()
    range.nodes = [1, 2]
    const oracle = range.oracle(1000)
    oracle.onLeading(range.leadership(1))
    oracle.issue(ask(500, 1, 70))
    for (let ms = 0; ms < SILENT_MS; ms += 2_000) {
      oracle.issue(ask(1, 1, 70))
      await range.pass(2_000)
    }
    oracle.issue(ask(1, 1, 70))
    await range.pass(2_000)
    expect(oracle.issue(ask(1, 1, 70))!.safePoint).toBe(70)
    oracle.issue(ask(1, 2, 75))
    for (let ms = 0; ms < SILENT_MS; ms += 2_000) {
      oracle.issue(ask(1, 1, 90))
      await range.pass(2_000)
    }
    oracle.issue(ask(1, 1, 90))
    await range.pass(2_000)
    expect(oracle.issue(ask(1, 1, 90))!.safePoint).toBe(90)
  })

  it('writes nothing while nobody asks for timestamps', async () => {
    const range = new SystemRange()
    const oracle = range.oracle(1000)
    oracle.onLeading(range.leadership(1))
    let known = oracle.issue(ask(5))!.first + 5
    const idle = async (): Promise<number> => {
      const before = range.proposed
      for (let i = 0; i < 30; i++) {
        known = oracle.issue(ask(0, 1, known))!.first
        await range.pass(2_000)
      }
      return range.proposed - before
    }
    await idle()
    expect(range.record.safePoint).toBeGreaterThan(5)
    expect(await idle()).toBe(0)
  })
})
