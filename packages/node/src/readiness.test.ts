import { describe, expect, it } from 'vitest'
import { type ReadinessFacts, whyUnready } from './readiness.js'

const ready: ReadinessFacts = {
  phase: 'running',
  membership: 'member',
  whereabouts: { isRegistered: true },
  served: { areAll: true },
}
const unserved = { served: { areAll: false } }
const unregistered = { whereabouts: { isRegistered: false } }
const why = (facts: Partial<ReadinessFacts> = {}) => whyUnready({ ...ready, ...facts })

describe('a node that is not ready', () => {
  it('lacks a leader, or was not taken in yet', () => {
    expect(why()).toBeUndefined()
    expect(why(unserved)).toContain('no leader that this node can reach')
    expect(why(unregistered)).toContain('not been registered')
  })

  it.each([
    ['draining', 'undrained'],
    ['decommissioning', 'is being decommissioned'],
    ['decommissioned', 'was decommissioned'],
    ['something of a later version', 'the node is something of a later version'],
  ])('is %s, and says so whatever else it lacks', (membership, reason) => {
    expect(why({ membership })).toContain(reason)
    expect(why({ membership, ...unregistered, ...unserved })).toBe(why({ membership }))
  })

  it('is about to stop, or has', () => {
    expect(why({ phase: 'draining', membership: 'draining' })).toBe('the node is about to stop')
    expect(why({ phase: 'closed' })).toBe('the node has stopped')
  })
})
