import type { RangeReply } from '@cordillera/wire'
import { describe, expect, it } from 'vitest'
import { type PendingBlock, Proposals } from './proposals.js'

function blockInto(replies: string[], name: string): PendingBlock {
  const reply = (r: RangeReply): void => {
    replies.push(`${name}:${r.kind === 'refused' ? r.reason : r.kind}`)
  }
  return { block: new Uint8Array(1), count: 1, reply }
}

describe('Proposals', () => {
  it('gives the waiters of an entry when that very entry applies', () => {
    const replies: string[] = []
    const proposals = new Proposals()
    const block = blockInto(replies, 'a')
    proposals.add(5, 2, [block])
    expect(proposals.takeApplied(4, 2)).toBeUndefined()
    expect(proposals.takeApplied(5, 2)).toEqual([block])
    expect(proposals.size).toBe(0)
    expect(replies).toEqual([])
  })

  it('answers "lost" once an entry of a later term has been applied at the place or before it', () => {
    const replies: string[] = []
    const proposals = new Proposals()
    proposals.add(5, 2, [blockInto(replies, 'a')])
    proposals.add(6, 2, [blockInto(replies, 'b')])
    proposals.takeApplied(4, 2)
    expect(replies).toEqual([])
    expect(proposals.takeApplied(5, 3)).toBeUndefined()
    expect(replies).toEqual(['a:lost', 'b:lost'])
    expect(proposals.size).toBe(0)
  })

  it('does not take a later leadership for lost', () => {
    const replies: string[] = []
    const proposals = new Proposals()
    const kept = blockInto(replies, 'c')
    proposals.add(6, 2, [blockInto(replies, 'a')])
    proposals.add(7, 2, [blockInto(replies, 'b')])
    proposals.add(7, 4, [kept])
    proposals.takeApplied(5, 3)
    expect(replies).toEqual(['a:lost', 'b:lost'])
    proposals.takeApplied(6, 4)
    expect(proposals.takeApplied(7, 4)).toEqual([kept])
  })

  it('keeps the proposals of two leaderships apart, at one index too', () => {
    const replies: string[] = []
    const proposals = new Proposals()
    proposals.add(5, 2, [blockInto(replies, 'a')])
    proposals.add(6, 2, [blockInto(replies, 'b')])
    proposals.add(7, 2, [blockInto(replies, 'c')])
    const again = blockInto(replies, 'd')
    proposals.add(6, 4, [again])
    proposals.takeApplied(5, 2)
    expect(proposals.takeApplied(6, 4)).toEqual([again])
    expect(replies).toEqual(['b:lost', 'c:lost'])
    expect(proposals.size).toBe(0)
  })

  it('answers what is still open with "unknown" when the replica goes away', () => {
    const replies: string[] = []
    const proposals = new Proposals()
    for (let index = 1; index <= 200; index++) proposals.add(index, 1, [blockInto(replies, `${index}`)])
    for (let index = 1; index < 199; index++) proposals.takeApplied(index, 1)
    expect(proposals.size).toBe(2)
    proposals.abandon()
    proposals.abandon()
    expect(replies).toEqual(['199:unknown', '200:unknown'])
  })
})
