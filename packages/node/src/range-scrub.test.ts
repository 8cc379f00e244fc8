import { describe, expect, it } from 'vitest'
import { oddOnes, type VoterHash } from './range-scrub.js'

/** Voters 1, 2, … on nodes 11, 12, …, by their hashes; null: no answer. */
function voters(...hashes: (string | null)[]): VoterHash[] {
  return hashes.map((hash, i) => ({
    place: { replicaId: i + 1, nodeId: i + 11, type: 'voter' },
    hash: hash === null ? undefined : { appliedIndex: 7, hash },
  }))
}

const oddIds = (...hashes: (string | null)[]): number[] => oddOnes(voters(...hashes)).map(({ replicaId }) => replicaId)

describe('the odd ones out', () => {
  it('are those that differ from a majority of all voters, whoever of them has answered', () => {
    expect(oddIds('a', 'a', 'b')).toEqual([3])
    expect(oddIds('b', 'a', 'a')).toEqual([1])
    expect(oddIds('a', 'a', 'a', 'b', 'c')).toEqual([4, 5])
    expect(oddIds('a', 'a', 'a', 'b', null)).toEqual([4])
  })

  it('are none where nobody differs, or no majority is left that agrees', () => {
    expect(oddIds('a')).toEqual([])
    expect(oddIds('a', 'a', 'a')).toEqual([])
    expect(oddIds('a', 'b')).toEqual([])
    expect(oddIds('a', 'b', 'c')).toEqual([])
    expect(oddIds('a', 'b', null)).toEqual([])
    expect(oddIds('a', 'a', 'b', null, null)).toEqual([])
    expect(oddIds('a', 'a', 'b', 'b')).toEqual([])
    expect(oddIds(null, null, null)).toEqual([])
  })

  it('are none while the range changes its voters', () => {
    const [first, second, third] = voters('a', 'a', 'b')
    const outgoing = { ...third!, place: { ...third!.place, type: 'outgoing' as const } }
    expect(oddOnes([first!, second!, outgoing])).toEqual([])
  })
})
