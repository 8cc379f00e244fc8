import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { AdminCommand } from './admin-command.js'
import type { Descriptor } from './descriptor.js'
import { abortMerge, beginMerge, endMerge, freeze, isFrozenBy, merge, refuseMerge, thaw } from './merge.js'

/**
 * Two neighbours, and whoever acts on them: several coordinators at once, on what they read a while ago; what they propose is
 * applied later, in any order, more than once, or never. What the header of `merge.ts` says holds all the same.
 */
type Side = 'left' | 'right'
interface Proposal {
  readonly side: Side
  readonly command: AdminCommand
}
interface Known {
  readonly version: number
  readonly attempt: number
}

const replicas = [1, 2, 3].map((nodeId) => ({ replicaId: nodeId, nodeId, type: 'voter' as const }))
const newLeft = (): Descriptor => ({
  rangeId: 7,
  start: 'a',
  end: 'm',
  epoch: { version: 1, confVersion: 1 },
  replicas,
})
const newRight = (): Descriptor => ({
  ...newLeft(),
  rangeId: 8,
  start: 'm',
  end: 'z',
  epoch: { version: 4, confVersion: 2 },
})

class Pair {
  left = newLeft()
  right = newRight()
  attempts = 0
  /** Attempts that have merged. */
  readonly merged: number[] = []
  readonly proposals: Proposal[] = []
  /** Versions of the right that somebody has read, to ask the left afterwards whether it still absorbs it. */
  readonly known: Known[] = []

  act(kind: number, at: number): void {
    const state = this.left.merge
    const attempt = state?.kind === 'frozen' ? 0 : (state?.attempt ?? 0)
    const { version } = this.right.epoch
    const known = this.known[at % Math.max(1, this.known.length)]
    switch (kind) {
      case 0:
        this.#propose('left', { kind: 'begin', version: this.left.epoch.version, rightId: 8, attempt: ++this.attempts })
        break
      case 1: // Read first, then the left is asked: of two reads, the later one may freeze or thaw.
        if (attempt > 0) this.known.push({ version, attempt })
        break
      case 2:
        if (known === undefined || state?.kind !== 'absorbing' || state.attempt !== known.attempt) return
        this.#propose('right', { kind: 'freeze', leftId: 7, ...known })
        break
      case 3:
        if (!isFrozenBy(this.right, 7, attempt)) return
        this.#propose('left', { kind: 'merge', epoch: this.left.epoch, attempt, right: this.right })
        break
      case 4:
        if (attempt > 0) this.#propose('left', { kind: 'abort', attempt })
        break
      case 5:
        if (known === undefined || state?.kind !== 'aborted' || state.attempt !== known.attempt) return
        this.#propose('right', { kind: 'thaw', leftId: 7, ...known })
        break
      case 6: // The right is the left of another one itself.
        this.#propose('right', { kind: 'begin', version, rightId: 9, attempt: ++this.attempts })
        break
      case 7:
        if (this.right.merge?.kind === 'absorbing')
          this.#propose('right', { kind: 'abort', attempt: this.right.merge.attempt })
        if (this.right.merge?.kind === 'aborted')
          this.#propose('right', { kind: 'end', attempt: this.right.merge.attempt })
        break
      case 12: // Somebody asks for an attempt that has not begun, and may still be about to.
        this.#propose('left', { kind: 'refuse', rightId: 8, attempt: ++this.attempts })
        if (at % 2 === 0) {
          const begin = { version: this.left.epoch.version, rightId: 8, attempt: this.attempts }
          this.#propose('left', { kind: 'begin', ...begin })
        }
        break
      case 8: // Most are applied soon.
      case 9:
        if (this.proposals.length > 0) this.apply(this.proposals.at(-1)!)
        break
      default:
        if (this.proposals.length > 0) this.apply(this.proposals[at % this.proposals.length]!)
    }
  }

  apply({ side, command }: Proposal): void {
    const next = side === 'left' ? this.#applyLeft(command) : (this.#applyRight(command) ?? this.#applyOwn(command))
    if (next === undefined) return
    expect(next.epoch.version).toBeGreaterThanOrEqual(this[side].epoch.version)
    this[side] = next
    if (command.kind === 'merge') this.merged.push(command.attempt)
    if (command.kind === 'thaw') this.#propose('left', { kind: 'end', attempt: command.attempt })
  }

  check(): void {
    const { merge: state } = this.right
    expect(this.merged.length).toBeLessThanOrEqual(1)
    const [attempt] = this.merged
    if (attempt !== undefined) {
      // It is gone: nobody wakes it up again, and it was of the version that the whole is above.
      expect(isFrozenBy(this.right, 7, attempt)).toBe(true)
      expect(this.left).toMatchObject({ start: 'a', end: 'z' })
      expect(this.left.epoch.version).toBeGreaterThan(this.right.epoch.version)
    } else if (state?.kind === 'frozen') {
      // By an attempt of which the left can say what it has come to.
      expect(this.left.merge).toMatchObject({ rightId: 8, attempt: state.attempt })
    }
  }

  /** What is pending on the side of the left ends, whatever it is. */
  finish(): void {
    const own = this.right.merge
    if (own !== undefined && own.kind !== 'frozen') {
      this.apply({ side: 'right', command: { kind: 'abort', attempt: own.attempt } })
      this.apply({ side: 'right', command: { kind: 'end', attempt: own.attempt } })
    }
    const { merge: state } = this.left
    if (state?.kind === 'absorbing') this.apply({ side: 'left', command: { kind: 'abort', attempt: state.attempt } })
    const { merge: aborted } = this.left
    if (aborted?.kind !== 'aborted') return
    const { version } = this.right.epoch
    this.apply({ side: 'right', command: { kind: 'thaw', leftId: 7, attempt: aborted.attempt, version } })
    this.apply({ side: 'left', command: { kind: 'end', attempt: aborted.attempt } })
  }

  #applyLeft(command: AdminCommand): Descriptor | undefined {
    const { left } = this
    if (command.kind === 'begin') return beginMerge(left, command.version, command.rightId, command.attempt)
    if (command.kind === 'merge') return merge(left, command.epoch, command.right, command.attempt)
    if (command.kind === 'abort') return abortMerge(left, command.attempt)
    if (command.kind === 'refuse') return refuseMerge(left, command.rightId, command.attempt)
    return command.kind === 'end' ? endMerge(left, command.attempt) : undefined
  }

  #applyRight(command: AdminCommand): Descriptor | undefined {
    if (command.kind === 'freeze') return freeze(this.right, command.version, command.leftId, command.attempt)
    return command.kind === 'thaw' ? thaw(this.right, command.version, command.leftId, command.attempt) : undefined
  }

  /** What the right does as a left. */
  #applyOwn(command: AdminCommand): Descriptor | undefined {
    const { right } = this
    if (command.kind === 'begin') return beginMerge(right, command.version, command.rightId, command.attempt)
    if (command.kind === 'abort') return abortMerge(right, command.attempt)
    return command.kind === 'end' ? endMerge(right, command.attempt) : undefined
  }

  #propose(side: Side, command: AdminCommand): void {
    this.proposals.push({ side, command })
  }
}

const action = fc.tuple(fc.nat(12), fc.nat(1_000))

describe('a merge', () => {
  it('has one outcome, whoever proposes what, and however late', () => {
    let merges = 0
    let aborts = 0
    fc.assert(
      fc.property(fc.array(action, { maxLength: 80, size: 'max' }), (actions) => {
        const pair = new Pair()
        for (const [kind, at] of actions) {
          pair.act(kind, at)
          pair.check()
        }
        pair.finish()
        pair.check()
        merges += pair.merged.length
        // Of one that has merged, nothing is pending.
        expect(pair.left.merge).toBeUndefined()
        if (pair.merged.length > 0) return
        expect(pair.right.merge).toBeUndefined()
        aborts += pair.attempts > 0 ? 1 : 0
      }),
      { numRuns: 4_000, seed: 4 },
    )
    expect(merges).toBeGreaterThan(40)
    expect(aborts).toBeGreaterThan(200)
  }, 60_000)

  it('takes its steps in their order alone, and neighbours on the same stores alone', () => {
    const [left, right] = [newLeft(), newRight()]
    const absorbing = beginMerge(left, 1, 8, 3)!
    expect(beginMerge(absorbing, 1, 8, 4)).toBeUndefined()
    expect(beginMerge(left, 1, 7, 4)).toBeUndefined()
    expect(beginMerge(left, 2, 8, 4)).toBeUndefined()
    expect(freeze(right, 3, 7, 3)).toBeUndefined()
    expect(
      freeze({ ...right, replicas: replicas.map((one) => ({ ...one, type: 'learner' })) }, 4, 7, 3),
    ).toBeUndefined()
    const frozen = freeze(right, 4, 7, 3)!
    expect(frozen.epoch).toEqual({ version: 5, confVersion: 2 })
    expect(freeze(frozen, 5, 7, 3)).toBeUndefined()
    expect(merge(absorbing, left.epoch, right, 3)).toBeUndefined()
    expect(merge(absorbing, { version: 1, confVersion: 2 }, frozen, 3)).toBeUndefined()
    expect(merge(absorbing, left.epoch, { ...frozen, start: 'n' }, 3)).toBeUndefined()
    expect(merge(absorbing, left.epoch, { ...frozen, replicas: replicas.slice(1) }, 3)).toBeUndefined()
    const elsewhere = replicas.map((one) => ({ ...one, nodeId: one.nodeId + 1 }))
    expect(merge(absorbing, left.epoch, { ...frozen, replicas: elsewhere }, 3)).toBeUndefined()
    const whole = { ...left, end: 'z', epoch: { version: 6, confVersion: 1 }, lastMerge: 3, lastMerged: 3 }
    expect(merge(absorbing, left.epoch, frozen, 3)).toEqual(whole)
    expect(endMerge(absorbing, 3)).toBeUndefined()
    const aborted = abortMerge(absorbing, 3)!
    expect(merge(aborted, left.epoch, frozen, 3)).toBeUndefined()
    expect(thaw(frozen, 5, 7, 2)).toBeUndefined()
    // A freeze of the attempt that was given up comes too late.
    expect(freeze(thaw(frozen, 5, 7, 3)!, 4, 7, 3)).toBeUndefined()
    expect(thaw(frozen, 5, 7, 3)).toEqual({ ...right, epoch: { version: 6, confVersion: 2 } })
    expect(thaw(right, 4, 7, 3)).toEqual({ ...right, epoch: { version: 5, confVersion: 2 } })
    expect(endMerge(aborted, 2)).toBeUndefined()
    const ended = endMerge(aborted, 3)!
    expect(ended).toEqual({ ...left, lastMerge: 3 })
    for (const attempt of [2, 3]) expect(beginMerge(ended, 1, 8, attempt)).toBeUndefined()
    expect(beginMerge(ended, 1, 8, 4)).toBeDefined()
  })

  it('is refused by a left that never began it, and then never begins', () => {
    const left = newLeft()
    const refused = refuseMerge(left, 8, 3)!
    expect(refused).toEqual({ ...left, merge: { kind: 'aborted', rightId: 8, attempt: 3 }, lastMerge: 3 })
    expect(beginMerge(endMerge(refused, 3)!, 1, 8, 3)).toBeUndefined()
    // Of an attempt that it knows of, whatever it has come to, there is nothing to refuse.
    const absorbing = beginMerge(left, 1, 8, 3)!
    for (const known of [absorbing, refused, endMerge(refused, 3)!, { ...left, lastMerge: 3, lastMerged: 3 }]) {
      expect(refuseMerge(known, 8, 3)).toBeUndefined()
    }
    expect(refuseMerge(left, left.rangeId, 3)).toBeUndefined()
  })
})
