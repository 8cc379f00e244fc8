import { SeededRandom } from '@cordillera/base'
import type { Entry, HardState } from '@cordillera/raft-core'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { entry, type Fixture, openFixture, readAll, terms } from './log-fixture.js'
import { RaftLog } from './raft-log.js'

/**
 * A log that loses power anywhere, against a naive twin.
 *
 * The twin keeps, for every group, each state that it was ever in, in order. After a crash the group must be in one of
 * the states from the last one known to be durable to the newest: nothing that was flushed is missing, nothing was
 * invented, and no mixture of two states appears.
 */
interface TwinState {
  readonly entries: readonly Entry[]
  readonly compactedIndex: number
  readonly compactedTerm: number
  readonly hardState: HardState
  readonly flushedIndex: number
}

interface Twin {
  /** Undefined: the group does not exist. The last one is the newest. */
  states: (TwinState | undefined)[]
  durableFrom: number
}

const EMPTY: TwinState = {
  entries: [],
  compactedIndex: 0,
  compactedTerm: 0,
  hardState: { term: 0, vote: 0, commitIndex: 0 },
  flushedIndex: 0,
}

type Action =
  | {
      readonly kind: 'append'
      readonly group: number
      readonly back: number
      readonly count: number
      readonly bytes: number
    }
  | { readonly kind: 'vote' | 'compact' | 'flushed' | 'remove' | 'reset'; readonly group: number; readonly by: number }
  | { readonly kind: 'flush'; readonly turns: number }
  | { readonly kind: 'busy'; readonly group: number; readonly rounds: number }
  | { readonly kind: 'turns'; readonly turns: number }
  | {
      readonly kind: 'crash'
      readonly seed: number
      readonly keep: 'all' | 'none' | 'some'
      readonly openings: readonly number[]
    }
  | { readonly kind: 'close' }

const group = fc.nat(4)
const action: fc.Arbitrary<Action> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('append' as const),
      group,
      back: fc.oneof({ weight: 4, arbitrary: fc.constant(0) }, fc.nat(6)),
      count: fc.integer({ min: 1, max: 8 }),
      bytes: fc.oneof({ weight: 4, arbitrary: fc.nat(200) }, fc.integer({ min: 1000, max: 4000 })),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constantFrom('vote' as const, 'compact' as const, 'compact' as const, 'flushed' as const),
      group,
      by: fc.nat(10),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constantFrom('remove' as const, 'reset' as const), group, by: fc.nat(10) }),
  },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('flush' as const), turns: fc.constantFrom(0, 1, 2, 3, 50) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('turns' as const), turns: fc.nat(12) }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('busy' as const), group, rounds: fc.integer({ min: 2, max: 9 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('crash' as const),
      seed: fc.nat(),
      keep: fc.constantFrom('all' as const, 'none' as const, 'some' as const, 'some' as const),
      openings: fc.array(fc.nat(30), { maxLength: 2 }),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: 'close' as const }) },
)

class Run {
  readonly #fixture: Fixture
  readonly #twins = new Map<number, Twin>()
  /** Each slot's present replica: ids are never used again. */
  readonly #ids = [1, 2, 3, 4, 5]
  #nextId = 6
  #term = 1
  recoveries = 0
  carried = 0
  recycled = 0

  constructor(fixture: Fixture) {
    this.#fixture = fixture
  }

  async apply(action: Action): Promise<void> {
    switch (action.kind) {
      case 'append':
        return this.#append(action.group, action.back, action.count, action.bytes)
      case 'flush':
        return this.#flush(action.turns)
      case 'busy':
        for (let round = 0; round < action.rounds; round++) {
          this.#append(action.group, 0, 3, 3000)
          this.#change('compact', action.group, 1)
          await this.#flush(50)
        }
        return
      case 'turns':
        for (let turn = 0; turn < action.turns; turn++) await this.#turn()
        return
      case 'crash':
        this.#crash(action.seed, action.keep)
        for (const turns of action.openings) {
          RaftLog.open(this.#fixture.options).catch(() => {})
          for (let turn = 0; turn < turns; turn++) await this.#turn()
          this.#crash(action.seed + turns, action.keep)
        }
        return this.reopen()
      case 'close':
        await this.#fixture.clock.run(this.#fixture.log.close())
        for (const twin of this.#twins.values()) twin.durableFrom = twin.states.length - 1
        return this.reopen()
      default:
        return this.#change(action.kind, action.group, action.by)
    }
  }

  async reopen(): Promise<void> {
    const fixture = this.#fixture
    this.carried += fixture.log.stats.carriedEntries
    this.recycled += fixture.log.stats.recycledSegments
    fixture.clock.clear()
    fixture.log = await fixture.clock.run(RaftLog.open(fixture.options))
    this.recoveries++
    expect(fixture.log.hasUnattributedDamage).toBe(false)
    for (const [id, twin] of this.#twins) await this.#check(id, twin)
    for (const id of fixture.log.groups.keys()) expect(this.#twins.has(id)).toBe(true)
  }

  #append(slot: number, back: number, count: number, bytes: number): void {
    const { group, twin } = this.#open(slot)
    const state = newest(twin)
    const from = Math.max(state.compactedIndex + 1, group.lastIndex + 1 - back)
    if (from <= group.lastIndex) this.#term++
    const added: Entry[] = []
    for (let i = 0; i < count; i++) added.push(entry(from + i, i > 4 ? this.#term + 1 : this.#term, bytes))
    if (count > 5) this.#term++
    group.append(added, undefined)
    const kept = state.entries.filter((each) => each.index < from)
    // One append may become durable entry by entry: each prefix is a state that the log may be found in.
    for (let i = 1; i <= count; i++) twin.states.push({ ...state, entries: [...kept, ...added.slice(0, i)] })
  }

  #change(kind: 'vote' | 'compact' | 'flushed' | 'remove' | 'reset', slot: number, by: number): void {
    const { id, group, twin } = this.#open(slot)
    const state = newest(twin)
    if (kind === 'vote') {
      const hardState = {
        term: this.#term++,
        vote: by,
        commitIndex: Math.max(state.compactedIndex, group.lastIndex - by),
      }
      group.append([], hardState)
      twin.states.push({ ...state, hardState })
    } else if (kind === 'compact') {
      const index = Math.max(state.compactedIndex, group.lastIndex - by)
      const compactedTerm = group.termAt(index)!
      group.compactTo(index)
      const entries = state.entries.filter((each) => each.index > index)
      twin.states.push({ ...state, entries, compactedIndex: index, compactedTerm })
    } else if (kind === 'flushed') {
      const flushedIndex = Math.max(state.flushedIndex, group.lastIndex - by)
      group.recordFlushed(flushedIndex)
      twin.states.push({ ...state, flushedIndex })
    } else if (kind === 'reset') {
      const index = group.lastIndex + 1 + by
      group.reset(index, this.#term)
      twin.states.push({ ...state, entries: [], compactedIndex: index, compactedTerm: this.#term })
    } else {
      this.#fixture.log.removeGroup(id)
      twin.states.push(undefined)
      this.#ids[slot] = this.#nextId++
    }
  }

  async #flush(turns: number): Promise<void> {
    const marks = [...this.#twins].map(([id, twin]) => [id, twin, twin.states.length - 1] as const)
    let isDone = false
    const flushed = this.#fixture.log.flush().then(() => {
      isDone = true
      for (const [, twin, mark] of marks) twin.durableFrom = Math.max(twin.durableFrom, mark)
    })
    for (let turn = 0; turn < turns && !isDone; turn++) await this.#turn()
    if (turns >= 50) await this.#fixture.clock.run(flushed)
  }

  #crash(seed: number, keep: 'all' | 'none' | 'some'): void {
    this.#fixture.disk.crash({ keep: keep === 'some' ? new SeededRandom(seed) : keep })
    this.#fixture.clock.clear()
  }

  async #turn(): Promise<void> {
    this.#fixture.clock.step()
    for (let i = 0; i < 60; i++) await undefined
  }

  #open(slot: number): { id: number; group: NonNullable<ReturnType<RaftLog['groups']['get']>>; twin: Twin } {
    const { log } = this.#fixture
    const id = this.#ids[slot]!
    let twin = this.#twins.get(id)
    if (!twin) {
      twin = { states: [undefined, EMPTY], durableFrom: 0 }
      this.#twins.set(id, twin)
    }
    if (newest(twin) === undefined) twin.states.push(EMPTY)
    return { id, group: log.groups.get(id) ?? log.createGroup(id), twin }
  }

  async #check(id: number, twin: Twin): Promise<void> {
    const group = this.#fixture.log.groups.get(id)
    const candidates = twin.states.slice(twin.durableFrom)
    const wanted = candidates.map(describe)
    const found = group ? await this.#describeFound(id) : 'absent'
    expect(wanted, `replica ${id}`).toContain(found)
    const position = wanted.lastIndexOf(found)
    twin.states = [candidates[position]]
    twin.durableFrom = 0
  }

  async #describeFound(id: number): Promise<string> {
    const group = this.#fixture.log.groups.get(id)!
    expect(group.damaged, `replica ${id} is damaged`).toBe(false)
    expect(group.termAt(group.compactedIndex)).toBeDefined()
    const found = await readAll(this.#fixture, id)
    for (const each of found) expect(group.termAt(each.index)).toBe(each.term)
    return describe({
      entries: found,
      compactedIndex: group.compactedIndex,
      compactedTerm: group.termAt(group.compactedIndex)!,
      hardState: group.hardState,
      flushedIndex: group.recoveredFlushedIndex,
    })
  }
}

function newest(twin: Twin): TwinState {
  return twin.states[twin.states.length - 1]!
}

function describe(state: TwinState | undefined): string {
  if (!state) return 'absent'
  const { term, vote } = state.hardState
  const lengths = state.entries.reduce((sum, each) => sum + each.bytes.length, 0)
  const log = `(${state.compactedIndex}@${state.compactedTerm}) ${terms(state.entries)} ${lengths}`
  return `${log} | ${term} for ${vote} | flushed ${state.flushedIndex}`
}

it('recovers each group to a state between the last durable one and the newest, wherever the power fails', async () => {
  let recoveries = 0
  let carried = 0
  let recycled = 0
  await fc.assert(
    fc.asyncProperty(fc.array(action, { minLength: 10, maxLength: 120 }), async (actions) => {
      const run = new Run(await openFixture({ segmentBytes: 32 * 1024, cacheBytesMax: 8 * 1024, sealAfterMs: 5 }))
      for (const each of actions) await run.apply(each)
      await run.apply({ kind: 'crash', seed: 0, keep: 'all', openings: [] })
      recoveries += run.recoveries
      carried += run.carried
      recycled += run.recycled
    }),
    { numRuns: 300 },
  )
  expect(recoveries).toBeGreaterThan(300)
  expect(carried).toBeGreaterThan(100)
  expect(recycled).toBeGreaterThan(50)
})
