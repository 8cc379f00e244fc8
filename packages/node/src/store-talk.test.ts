import { CordilleraError } from '@cordillera/base'
import type { StoreReport } from '@cordillera/replicas'
import { expect, it } from 'vitest'
import { readStoreReport, StoreTalk } from './store-talk.js'

const SLOW: StoreReport = { condition: 'slow', space: 'ample' }
const FIT: StoreReport = { condition: 'healthy', space: 'ample' }

/** Node 1 of three; `deaf` nodes answer nothing but an error. */
function talkOf(): {
  readonly talk: StoreTalk
  readonly said: string[]
  readonly deaf: Set<number>
  report: StoreReport
  settle(): Promise<string[]>
} {
  const said: string[] = []
  const deaf = new Set<number>()
  const state = { report: FIT }
  const talk = new StoreTalk({
    nodeId: 1,
    nodes: () => [1, 2, 3],
    report: () => state.report,
    links: {
      isUp: () => true,
      ask: async (node: number, _method: string, body: unknown) => {
        said.push(`${node} ${(body as StoreReport).condition}`)
        if (deaf.has(node)) throw new CordilleraError('UNAVAILABLE')
        return null
      },
    },
  })
  return Object.assign(state, {
    talk,
    said,
    deaf,
    settle: async () => {
      for (let i = 0; i < 5; i++) await undefined
      return said.splice(0)
    },
  })
}

it('says what has changed, once to each, and again to who has not heard it', async () => {
  const world = talkOf()
  world.talk.say()
  expect(await world.settle()).toEqual([])
  world.report = SLOW
  world.deaf.add(3)
  world.talk.say()
  expect(await world.settle()).toEqual(['2 slow', '3 slow'])
  world.deaf.delete(3)
  world.talk.say()
  expect(await world.settle()).toEqual(['3 slow'])
  world.talk.say()
  expect(await world.settle()).toEqual([])
  world.report = FIT
  world.talk.say()
  expect(await world.settle()).toEqual(['2 healthy', '3 healthy'])
})

it('tells a node that has been met anew, unless there is nothing to tell', async () => {
  const world = talkOf()
  world.talk.onLinkUp(2)
  expect(await world.settle()).toEqual([])
  world.report = SLOW
  world.talk.say()
  await world.settle()
  world.talk.onLinkUp(2)
  expect(await world.settle()).toEqual(['2 slow'])
})

it('takes reports that are none for what they are', () => {
  expect(readStoreReport({ condition: 'stalled', space: 'out', more: 1 })).toEqual({
    condition: 'stalled',
    space: 'out',
  })
  for (const body of [null, 7, 'slow', {}, { condition: 'slow' }, { condition: 'bad', space: 'out' }]) {
    expect(() => readStoreReport(body)).toThrow(expect.objectContaining({ code: 'BAD_REQUEST' }))
  }
})
