import { type Entry, EntryType, type HardState, type Message, sealEntry } from '@cordillera/raft-core'
import type { Descriptor } from '@cordillera/ranges'
import { describe, expect, it } from 'vitest'
import { type CheckedReplica, RaftChecker } from './raft-checker.js'

/** Planted histories: each breaks one promise, and the checker must name it; the same without the break is clean. */
const RANGE = { rangeId: 2, start: '', end: null, epoch: { version: 1, confVersion: 1 } }

class Planted implements CheckedReplica {
  readonly descriptor = RANGE
  readonly core = {
    role: 'follower',
    term: 1,
    commitIndex: 0,
    configuration: { voters: [1, 2, 3], outgoing: [] as number[], learners: [] },
  }
  readonly terms: number[] = [0]
  readonly state = { appliedIndex: 0, appliedTerm: 0 }
  hardState: HardState = { term: 0, vote: 0, commitIndex: 0 }
  compactedIndex = 0
  #tokens = 0

  constructor(
    readonly checker: RaftChecker,
    readonly replicaId: number,
  ) {
    checker.onOpened(this)
  }

  get log() {
    const { terms, hardState } = this
    return {
      compactedIndex: this.compactedIndex,
      lastIndex: terms.length - 1,
      hardState,
      termAt: (index: number): number | undefined => terms[index],
    }
  }

  append(...appended: Entry[]): this {
    for (const { index, term } of appended) {
      this.terms.length = index
      this.terms[index] = term
    }
    return this.#ready({ entries: appended })
  }

  vote(term: number, vote: number): this {
    this.hardState = { term, vote, commitIndex: 0 }
    return this.#ready({ hardState: this.hardState })
  }

  lead(term: number): this {
    Object.assign(this.core, { role: 'leader', term })
    return this.#ready({ roleChange: { role: 'leader', term, leader: this.replicaId } })
  }

  apply(...committed: Entry[]): this {
    this.core.commitIndex = committed.at(-1)!.index
    return this.#ready({ committed })
  }

  /** Everything so far is said to be durable, and then the messages leave. */
  sync(...messagesAfterSync: Message[]): this {
    this.checker.onSynced(this, { ...NOTHING, syncToken: this.#tokens, messagesAfterSync })
    return this
  }

  /** At once, without waiting for anything. */
  send(...messages: Message[]): this {
    this.checker.onReady(this, { ...NOTHING, messages })
    return this
  }

  restart(terms: number[], hardState = this.hardState): this {
    this.terms.splice(0, this.terms.length, ...terms)
    this.hardState = hardState
    this.checker.onOpened(this)
    return this
  }

  /** As of the entries applied so far. */
  configure(voters: number[], outgoing: number[] = []): this {
    this.state.appliedIndex = this.core.commitIndex
    this.core.configuration = { voters, outgoing, learners: [] }
    this.checker.onConfiguration(this)
    return this
  }

  /** Of the log nothing is left when it has another entry there. */
  restore(index: number, term: number): this {
    Object.assign(this.state, { appliedIndex: index, appliedTerm: term })
    this.core.commitIndex = Math.max(this.core.commitIndex, index)
    if (this.terms[index] !== term) {
      this.terms.length = index + 1
      this.terms[index] = term
      this.compactedIndex = index
    }
    this.checker.onRestored(this)
    return this
  }

  #ready(ready: Partial<typeof NOTHING>): this {
    this.checker.onReady(this, { ...NOTHING, syncToken: ++this.#tokens, ...ready })
    return this
  }
}

const NOTHING = {
  entries: [] as readonly Entry[],
  hardState: undefined as HardState | undefined,
  syncToken: 0,
  committed: [] as readonly Entry[],
  roleChange: undefined as { role: 'leader'; term: number; leader: number } | undefined,
  messages: [] as readonly Message[],
  messagesAfterSync: [] as readonly Message[],
}

function entry(index: number, term: number, text = ''): Entry {
  return sealEntry(term, index, EntryType.command, Buffer.from(`${' '.repeat(18)}${text}`))
}

/** Durable everywhere first, then applied. */
function commit(replicas: readonly Planted[], ...entries: Entry[]): void {
  for (const replica of replicas) replica.append(...entries).sync()
  for (const replica of replicas) replica.apply(...entries)
}

/** What the checker says of three replicas' history. */
function found(history: (a: Planted, b: Planted, c: Planted) => void): string[] {
  const checker = new RaftChecker()
  history(new Planted(checker, 1), new Planted(checker, 2), new Planted(checker, 3))
  return checker.violations
}

describe('a planted history', () => {
  it.each<[string, (a: Planted, b: Planted, c: Planted) => void, (a: Planted, b: Planted, c: Planted) => void]>([
    ['election safety', (a, b) => [a.lead(1), b.lead(2)], (a, b) => [a.lead(1), b.lead(1)]],
    [
      'leader append-only',
      (a) => a.lead(1).append(entry(1, 1)).append(entry(2, 1)),
      (a) => a.append(entry(1, 1)).lead(2).append(entry(1, 2)),
    ],
    [
      'log matching',
      (a, b) => [a.append(entry(1, 1, 'x')), b.append(entry(1, 1, 'x'))],
      (a, b) => [a.append(entry(1, 1, 'x')), b.append(entry(1, 1, ''))],
    ],
    [
      'log matching',
      (a, b) => [a.append(entry(1, 1), entry(2, 2)), b.append(entry(1, 1), entry(2, 2))],
      (a, b) => [a.append(entry(1, 1), entry(2, 2)), b.append(entry(1, 0), entry(2, 2))],
    ],
    [
      'leader completeness',
      (a, b) => [a.append(entry(1, 1)).sync(), b.append(entry(1, 1)).sync(), a.apply(entry(1, 1)), b.lead(2)],
      (a, b, c) => [a.append(entry(1, 1)).sync(), b.append(entry(1, 1)).sync(), a.apply(entry(1, 1)), c.lead(2)],
    ],
    [
      'leader completeness',
      (a, b, c) => [
        [a, b].map((r) => Object.assign(r.core, { term: 3 })),
        [a, b].map((r) => r.append(entry(1, 1)).sync()),
        a.apply(entry(1, 1)),
        c.lead(2),
      ],
      (a, b, c) => [
        [a, b].map((r) => Object.assign(r.core, { term: 3 })),
        [a, b].map((r) => r.append(entry(1, 1)).sync()),
        a.apply(entry(1, 1)),
        c.lead(4),
      ],
    ],
    [
      'state machine safety',
      (a, b) => [a, b].map((r) => r.append(entry(1, 1)).sync()).map((r) => r.apply(entry(1, 1))),
      (a, b) => [
        [a, b].map((r) => r.append(entry(1, 1)).sync()),
        a.apply(entry(1, 1)),
        b.append(entry(1, 2)).sync().apply(entry(1, 2)),
      ],
    ],
    [
      'state machine safety',
      (a, b) => [[a, b].map((r) => r.append(entry(1, 1)).sync()), a.apply(entry(1, 1))],
      (a, b) => [[a, b].map((r) => r.append(entry(1, 1)).sync()), a.apply(entry(1, 1)).apply(entry(1, 1))],
    ],
    [
      'durability',
      (a, b) => [a.append(entry(1, 1)).sync(), b.append(entry(1, 1)).sync(), a.apply(entry(1, 1))],
      (a, b) => [a.append(entry(1, 1)).sync(), b.append(entry(1, 1)), a.apply(entry(1, 1))],
    ],
    [
      'durability',
      (a) => a.append(entry(1, 1)).sync().append(entry(2, 1)).restart([0, 1]),
      (a) => a.append(entry(1, 1)).append(entry(2, 1)).sync().restart([0, 1]),
    ],
    [
      'durability',
      (a) => a.append(entry(1, 1)).sync().append(entry(1, 3)).restart([0, 3]),
      (a) => a.append(entry(1, 1)).sync().append(entry(1, 3)).restart([0, 2]),
    ],
    [
      'durability',
      (a, b) => [[a, b].map((r) => r.configure([1, 2], [1, 3]).append(entry(1, 1)).sync()), b.configure([2])],
      (a, b) => [
        [a, b].map((r) => r.append(entry(1, 1)).sync()),
        a.apply(entry(1, 1)).configure([1, 2], [1, 3]).append(entry(2, 1)).sync(),
        b.append(entry(2, 1)).sync().apply(entry(1, 1)).apply(entry(2, 1)).configure([1, 2]),
        a.append(entry(3, 1)).sync().apply(entry(2, 1)).apply(entry(3, 1)),
      ],
    ],
    [
      'state machine safety',
      (a, b, c) => [
        commit([a, b], entry(1, 1), entry(2, 1)),
        c.restore(2, 1).append(entry(3, 1)).sync().restart([0, 0, 1, 1]),
      ],
      (a, b, c) => [
        commit([a, b], entry(1, 1), entry(2, 1)),
        c.append(entry(1, 1), entry(2, 1)).sync().apply(entry(1, 1), entry(2, 1)).restore(1, 1),
      ],
    ],
    [
      'state machine safety',
      (a, b, c) => [commit([a, b], entry(1, 1)), c.append(entry(1, 0)).sync().restore(1, 1)],
      (a, b, c) => [commit([a, b], entry(1, 1)), c.restore(1, 2)],
    ],
    [
      'durability',
      (a, b, c) => [commit([a, b], entry(1, 1)), c.restore(1, 1).append(entry(2, 1)).sync().restart([0, 1, 1])],
      (a, b, c) => [commit([a, b], entry(1, 1)), c.restore(1, 1).append(entry(2, 1)).sync().restart([0, 1])],
    ],
    ['hard state', (a) => a.vote(1, 2).vote(2, 3), (a) => a.vote(1, 2).vote(1, 3)],
    ['hard state', (a) => a.vote(1, 2).vote(2, 0), (a) => a.vote(2, 2).vote(1, 0)],
    [
      'hard state',
      (a) => a.vote(1, 2).sync().vote(2, 3).restart([0], { term: 1, vote: 2, commitIndex: 0 }),
      (a) => a.vote(1, 2).sync().restart([0], { term: 0, vote: 0, commitIndex: 0 }),
    ],
    [
      'the commit index goes back',
      (a) => [a.vote(1, 1), Object.assign(a.core, { commitIndex: 0 }), a.vote(2, 1)],
      (a) => [
        Object.assign(a.core, { commitIndex: 1 }),
        a.vote(1, 1),
        Object.assign(a.core, { commitIndex: 0 }),
        a.vote(2, 1),
      ],
    ],
  ])('%s', (promise, kept, broken) => {
    expect(found(kept)).toEqual([])
    const violations = found(broken)
    expect(violations.length).toBeGreaterThan(0)
    for (const violation of violations) expect(violation).toContain(promise)
  })
})

describe('coverage', () => {
  const range = (rangeId: number, start: string, end: string | null) => ({ ...RANGE, rangeId, start, end })
  const check = (isWhole: boolean, ...ranges: ReturnType<typeof range>[]): number => {
    const checker = new RaftChecker()
    checker.checkSpans(ranges, isWhole)
    return checker.violations.length
  }

  it('is every key exactly once', () => {
    expect(check(true, range(2, 'm', null), range(1, '', 'm'))).toBe(0)
    expect(check(true, range(1, '', 'm'), range(2, 'n', null))).toBe(1)
    expect(check(true, range(1, '', 'm'), range(2, 'l', null))).toBe(1)
    expect(check(true, range(1, '', null), range(2, 'l', null))).toBe(1)
    expect(check(true, range(1, 'a', null))).toBe(1)
    expect(check(true, range(1, '', 'z'))).toBe(1)
    expect(check(true)).toBe(1)
  })

  it('of one store is at most once', () => {
    expect(check(false, range(1, 'b', 'c'), range(2, 'x', 'y'))).toBe(0)
    expect(check(false, range(1, 'b', 'y'), range(2, 'x', 'z'))).toBe(1)
    expect(check(false)).toBe(0)
  })
})

describe('a promise leaves', () => {
  const vote = (term: number, to: number): Message => {
    return { kind: 'vote-reply', pre: false, granted: true, from: 1, to, term, commitIndex: 0, commitTerm: 0 }
  }
  const candidacy = (term: number): Message => {
    const ends = { lastIndex: 0, lastTerm: 0, commitIndex: 0, commitTerm: 0 }
    return { kind: 'vote-request', pre: false, transfer: false, from: 1, to: 2, term, ...ends }
  }
  const accepted = (term: number, index: number): Message => {
    return { kind: 'append-reply', accepted: true, from: 1, to: 2, term, index, hintIndex: 0, hintTerm: 0 }
  }
  const violationsOf = (history: (replica: Planted) => void): string[] => {
    const checker = new RaftChecker()
    history(new Planted(checker, 1))
    return checker.violations
  }
  const early = [expect.stringMatching(/^promises: .* before it is durable/)]

  it('when it is durable', () => {
    expect(violationsOf((one) => one.vote(2, 3).sync(vote(2, 3)))).toEqual([])
    expect(violationsOf((one) => one.vote(2, 1).sync(candidacy(2)))).toEqual([])
    expect(violationsOf((one) => one.append(entry(1, 1)).sync(accepted(1, 1)))).toEqual([])
    expect(violationsOf((one) => one.vote(2, 3).sync().send(vote(2, 3)))).toEqual([])
    expect(violationsOf((one) => one.append(entry(1, 1)).sync().send(accepted(1, 1), accepted(1, 0)))).toEqual([])
  })

  it('and never before', () => {
    expect(violationsOf((one) => one.vote(2, 3).send(vote(2, 3)))).toEqual(early)
    expect(violationsOf((one) => one.vote(2, 1).send(candidacy(2)))).toEqual(early)
    expect(violationsOf((one) => one.append(entry(1, 1)).send(accepted(1, 1)))).toEqual(early)
    expect(violationsOf((one) => one.append(entry(1, 1)).sync(accepted(1, 2)))).toEqual(early)
    expect(violationsOf((one) => one.vote(2, 3).sync(vote(2, 2)))).toEqual(early)
    expect(violationsOf((one) => one.send(vote(1, 3)))).toEqual(early)
  })

  it('late as well, from a term that is over, and when nothing is promised', () => {
    expect(violationsOf((one) => one.vote(2, 3).vote(3, 2).sync(vote(2, 3), accepted(2, 9)))).toEqual([])
    const refused: Message = { ...vote(2, 3), granted: false } as Message
    const rehearsal: Message = { ...vote(2, 3), pre: true } as Message
    const rejected: Message = { ...accepted(1, 5), accepted: false } as Message
    expect(violationsOf((one) => one.send(refused, rehearsal, rejected))).toEqual([])
  })
})

describe('with every split and merge the ranges', () => {
  const range = (rangeId: number, start: string, end: string | null, version: number): Descriptor => {
    const replicas = [{ replicaId: 100 + rangeId, nodeId: 1, type: 'voter' as const }]
    return { rangeId, start, end, epoch: { version, confVersion: 1 }, replicas }
  }
  const memory = { encode: () => new Uint8Array(0) }
  let replicaId = 10

  /** A replica of the range, as the entry at `index` has left it. */
  function at(descriptor: Descriptor, index = 0) {
    const replica = new Planted(new RaftChecker(), ++replicaId)
    return Object.assign(replica, { descriptor, state: { appliedIndex: index, appliedTerm: 1 } })
  }

  function world(...ranges: Descriptor[]): RaftChecker {
    const checker = new RaftChecker()
    for (const descriptor of ranges) {
      checker.onOpened(at(descriptor))
    }
    return checker
  }

  const right = (descriptor: Descriptor) => ({ descriptor, appliedIndex: 1, appliedTerm: 1, memory })

  it('have every key once', () => {
    const checker = world(range(2, '', 'm', 1), range(3, 'm', null, 1))
    const whole = at(range(3, 'm', 't', 2), 5)
    checker.onSplit(whole, right(range(4, 't', null, 2)))
    const merged = at(range(2, '', 't', 4), 7)
    checker.onMerged(merged, right(range(3, 'm', 't', 3)))
    // One that lags says what was.
    checker.onSplit(at(range(3, 'm', 't', 2), 5), right(range(4, 't', null, 2)))
    checker.onSplit(at(range(4, 't', 'v', 3), 9), right(range(5, 'v', null, 3)))
    expect(checker.violations).toEqual([])
  })

  it('lose none', () => {
    const checker = world(range(2, '', null, 1))
    checker.onSplit(at(range(2, '', 'm', 2), 5), right(range(3, 'n', null, 2)))
    expect(checker.violations).toEqual([expect.stringContaining('coverage: nobody has')])
  })

  it('have none twice', () => {
    const split = world(range(2, '', null, 1))
    split.onSplit(at(range(2, '', 'n', 2), 5), right(range(3, 'm', null, 2)))
    expect(split.violations).toEqual([expect.stringContaining('overlap')])
    const merged = world(range(2, '', 'm', 1), range(3, 'm', 't', 1), range(4, 't', null, 1))
    merged.onMerged(at(range(2, '', null, 3), 5), right(range(3, 'm', 't', 2)))
    expect(merged.violations).toEqual([expect.stringContaining('overlap')])
  })

  it('are cut into the same halves, and made of the same, everywhere', () => {
    const split = world(range(2, '', null, 1))
    split.onSplit(at(range(2, '', 'm', 2), 5), right(range(3, 'm', null, 2)))
    split.onSplit(at(range(2, '', 'n', 2), 5), right(range(3, 'n', null, 2)))
    expect(split.violations).toEqual([expect.stringContaining('split: ')])
    const merged = world(range(2, '', 'm', 1), range(3, 'm', null, 1))
    merged.onMerged(at(range(2, '', null, 3), 5), right(range(3, 'm', null, 2)))
    merged.onMerged(at(range(2, '', null, 3), 5), {
      ...right(range(3, 'm', null, 2)),
      memory: { encode: () => new Uint8Array([0]) },
    })
    expect(merged.violations).toEqual([expect.stringContaining('merge: ')])
  })
})
