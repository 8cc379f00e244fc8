import { describe, expect, it } from 'vitest'
import type { Configuration } from './configuration.js'
import { committedIndex, isQuorum, voteResult } from './quorum.js'

/** Every configuration over replicas 1 to 4, joint ones included, against twins that follow the definitions. */
const ids = [1, 2, 3, 4]
const subsets = Array.from({ length: 1 << ids.length }, (_, bits) => ids.filter((_id, at) => (bits >> at) & 1))
const configurations: Pick<Configuration, 'voters' | 'outgoing'>[] = subsets.flatMap((voters) =>
  subsets.map((outgoing) => ({ voters, outgoing })),
)

/** Every way to give each of the four ids one of `values`. */
function* assignments<T>(values: readonly T[]): Generator<Map<number, T>> {
  for (let code = 0; code < values.length ** ids.length; code++) {
    yield new Map(ids.map((id, at) => [id, values[Math.floor(code / values.length ** at) % values.length]!]))
  }
}

/** A set is a quorum if it has more than half of each half that is not empty, and some half is not. */
function isQuorumTwin({ voters, outgoing }: (typeof configurations)[number], members: ReadonlySet<number>): boolean {
  const halves = [voters, outgoing].filter((half) => half.length > 0)
  return halves.length > 0 && halves.every((half) => half.filter((id) => members.has(id)).length > half.length / 2)
}

describe('quorum arithmetic, enumerated', () => {
  it('commits the highest index that the members of some quorum have all reached', () => {
    for (const configuration of configurations) {
      for (const match of assignments([0, 1, 2, 3])) {
        const reached = (index: number) => new Set(ids.filter((id) => match.get(id)! >= index))
        const expected = [3, 2, 1].find((index) => isQuorumTwin(configuration, reached(index))) ?? 0
        if (committedIndex(configuration, (id) => match.get(id)!) !== expected) {
          expect({ configuration, match }).toBe(expected)
        }
      }
    }
  })

  it('decides an election as soon as no further answer can turn it', () => {
    for (const configuration of configurations) {
      for (const answers of assignments([true, false, undefined])) {
        const votes = new Map([...answers].filter((pair): pair is [number, boolean] => pair[1] !== undefined))
        const granted = new Set(ids.filter((id) => answers.get(id) === true))
        const notRefused = new Set(ids.filter((id) => answers.get(id) !== false))
        const isWon = isQuorumTwin(configuration, granted)
        const expected = isWon ? 'won' : isQuorumTwin(configuration, notRefused) ? 'pending' : 'lost'
        if (voteResult(configuration, votes) !== expected) expect({ configuration, votes }).toBe(expected)
        if (isQuorum(configuration, (id) => granted.has(id)) !== isWon) expect({ configuration, granted }).toBe(isWon)
      }
    }
  })

  it('is the same with the halves of a joint configuration exchanged', () => {
    for (const configuration of configurations) {
      const exchanged = { voters: configuration.outgoing, outgoing: configuration.voters }
      for (const match of assignments([0, 1, 2])) {
        const matchOf = (id: number) => match.get(id)!
        if (committedIndex(configuration, matchOf) !== committedIndex(exchanged, matchOf)) {
          expect({ configuration, match }).toBe('symmetric')
        }
      }
      for (const answers of assignments([true, false, undefined])) {
        const votes = new Map([...answers].filter((pair): pair is [number, boolean] => pair[1] !== undefined))
        const isSame = voteResult(configuration, votes) === voteResult(exchanged, votes)
        if (!isSame) expect({ configuration, votes }).toBe('symmetric')
        const granted = (id: number) => answers.get(id) === true
        if (isQuorum(configuration, granted) !== isQuorum(exchanged, granted)) expect(configuration).toBe('symmetric')
      }
    }
  })

  it('has no two quorums of one configuration that do not meet', () => {
    for (const configuration of configurations) {
      const quorums = subsets.filter((members) => isQuorum(configuration, (id) => members.includes(id)))
      for (const a of quorums) for (const b of quorums) expect(a.some((id) => b.includes(id))).toBe(true)
    }
  })
})
