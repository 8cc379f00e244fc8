import { describe, expect, it } from 'vitest'
import { decodeAdminCommand, encodeAdminCommand } from './admin-command.js'
import type { Descriptor } from './descriptor.js'
import {
  givenUpBy,
  isGivenUp,
  isSurvivor,
  type RangeRecovery,
  raiseVersion,
  recoveredVersion,
  succeededDescriptor,
  VERSIONS_PER_RECOVERY,
} from './recovery.js'
import { splitDescriptor } from './split.js'

const places = [1, 2, 3].map((nodeId) => ({ replicaId: 10 + nodeId, nodeId, type: 'voter' as const }))
const range: Descriptor = { rangeId: 7, start: 'f', end: 'p', epoch: { version: 5, confVersion: 3 }, replicas: places }
const recovery: RangeRecovery = {
  ...{ rangeId: 7, start: 'f', end: 'p', from: 5, version: VERSIONS_PER_RECOVERY },
  ...{ survivor: 11, nodeId: 1, successor: 90 },
}

function versioned(descriptor: Descriptor, version: number, some: Partial<Descriptor> = {}): Descriptor {
  return { ...descriptor, epoch: { ...descriptor.epoch, version }, ...some }
}

describe('what a recovery gives up', () => {
  it('is the range as it was, however late it is', () => {
    for (const version of [3, 5, 9]) expect(isGivenUp(12, versioned(range, version), recovery)).toBe(true)
    // As it was before its right half was cut off, on a store that has not heard of it.
    expect(isGivenUp(12, versioned(range, 4, { end: 'z' }), recovery)).toBe(true)
  })

  it('is what those that were lost have made of it', () => {
    const command = { kind: 'split', epoch: range.epoch, key: 'k', rangeId: 8, replicaIds: [21, 22, 23] } as const
    const halves = splitDescriptor(range, command)
    if (typeof halves === 'string') throw new Error(halves)
    expect(isGivenUp(22, halves.right, recovery)).toBe(true)
    expect(isGivenUp(32, versioned(range, 6, { rangeId: 4, start: 'a' }), recovery)).toBe(true)
  })

  it('is not the survivor, nor what it has become, nor what comes of that', () => {
    expect(isGivenUp(11, range, recovery)).toBe(false)
    const succeeded = succeededDescriptor(range, recovery)
    expect(isGivenUp(90, succeeded, recovery)).toBe(false)
    const raised = raiseVersion(succeeded, recovery.version)!
    expect(isGivenUp(91, raised, recovery)).toBe(false)
    const command = { kind: 'split', epoch: raised.epoch, key: 'k', rangeId: 9, replicaIds: [99] } as const
    const halves = splitDescriptor(raised, command)
    if (typeof halves === 'string') throw new Error(halves)
    for (const half of [halves.left, halves.right]) expect(isGivenUp(99, half, recovery)).toBe(false)
  })

  it('is no neighbour, and nothing of the range that this one was cut out of', () => {
    expect(isGivenUp(40, versioned(range, 6, { rangeId: 8, start: 'p', end: null }), recovery)).toBe(false)
    expect(isGivenUp(41, versioned(range, 4, { rangeId: 4, start: '', end: 'z' }), recovery)).toBe(false)
  })
})

describe('of several recoveries of a range', () => {
  const [first, second] = [VERSIONS_PER_RECOVERY, 2 * VERSIONS_PER_RECOVERY]
  const again: RangeRecovery = {
    ...{ rangeId: 7, start: 'f', end: 'p', from: first, version: second },
    ...{ survivor: 90, nodeId: 1, successor: 95 },
  }

  it('each gives up what was lost before it, whatever came after', () => {
    const child = versioned(range, 6, { rangeId: 8, start: 'k' })
    expect(givenUpBy(22, child, [recovery, again])).toBe(recovery)
    expect(givenUpBy(12, range, [recovery, again])).toBe(recovery)
    expect(givenUpBy(91, versioned(range, first), [recovery, again])).toBe(again)
    expect(givenUpBy(96, versioned(range, second), [recovery, again])).toBeUndefined()
  })

  it('none gives up whom it, or a later one, goes on from', () => {
    expect(givenUpBy(90, versioned(range, first), [recovery, again])).toBeUndefined()
    expect(givenUpBy(95, versioned(range, first), [recovery, again])).toBeUndefined()
    // The first survivor was lost before it went on; another one does instead.
    const instead = { ...again, from: 5, survivor: 12 }
    expect(givenUpBy(12, range, [recovery, instead])).toBeUndefined()
    expect(givenUpBy(95, range, [recovery, instead])).toBeUndefined()
    expect(givenUpBy(11, range, [recovery, instead])).toBe(instead)
    expect(givenUpBy(90, versioned(range, first), [recovery, instead])).toBe(instead)
  })
})

describe('a recovery', () => {
  it('is above everything, and raises a version once', () => {
    expect(recoveredVersion(5, [])).toBe(VERSIONS_PER_RECOVERY)
    expect(recoveredVersion(5, [recovery])).toBe(2 * VERSIONS_PER_RECOVERY)
    expect(recoveredVersion(2 * VERSIONS_PER_RECOVERY + 1, [recovery])).toBe(3 * VERSIONS_PER_RECOVERY)
    expect(raiseVersion(range, 5)).toBeUndefined()
  })

  it('is of one replica, as it was', () => {
    expect(isSurvivor(11, range, recovery)).toBe(true)
    expect(isSurvivor(12, range, recovery)).toBe(false)
    expect(isSurvivor(11, versioned(range, 6), recovery)).toBe(false)
    expect(isSurvivor(11, { ...range, merge: { kind: 'absorbing', rightId: 8, attempt: 1 } }, recovery)).toBe(false)
  })

  it('is told by a command that is its own inverse', () => {
    const command = { kind: 'recover', version: 3 * VERSIONS_PER_RECOVERY } as const
    expect(decodeAdminCommand(encodeAdminCommand(command, 0))).toEqual(command)
  })
})
