import { CordilleraError, SeededRandom } from '@cordillera/base'
import { beforeEach, expect, test } from 'vitest'
import { turnsOfNode } from './testing/turns-of-node.js'
import { Trace } from './trace.js'
import { VirtualClock } from './virtual-clock.js'
import { VirtualNetwork } from './virtual-network.js'
import { VirtualTransport } from './virtual-transport.js'

let clock: VirtualClock
let network: VirtualNetwork
let events: string[]

beforeEach(() => {
  clock = new VirtualClock({ runTurns: turnsOfNode })
  network = new VirtualNetwork({ clock, random: new SeededRandom(1), trace: new Trace() })
  events = []
})

const addressOf = (nodeId: number) => `node-${nodeId}`

async function startNode(nodeId: number, incarnation = 1) {
  const transport = new VirtualTransport({ host: network.host(addressOf(nodeId)), clock })
  const note = (text: string) => events.push(`${nodeId}: ${text}`)
  await transport.start({
    onUp: (peer, of) => note(`up ${peer}.${of}`),
    onDown: (peer) => note(`down ${peer}`),
    onRefused: (peer) => note(`refused ${peer}`),
    onFrame: (from, frame) => note(`frame ${from} ${frame.join()}`),
    onGuest: async (body) => {
      if (body[0] === 0) throw new CordilleraError('JOIN_REFUSED', { detail: 'no' })
      return body
    },
  })
  transport.identify({ clusterId: 'c', nodeId, incarnation })
  const others = [1, 2, 3].filter((other) => other !== nodeId)
  transport.setPeers(new Map(others.map((other) => [other, addressOf(other)])))
  return transport
}

const heard = (event: string) => () => events.includes(event)

async function startPair() {
  const [one, two] = [await startNode(1), await startNode(2)]
  await clock.run(1_000)
  events = []
  return { one, two }
}

test('two nodes meet over one connection, whoever dials first', async () => {
  await startNode(1)
  await startNode(2)
  await clock.run(1_000)
  expect(events.filter((event) => event.includes('up')).sort()).toEqual(['1: up 2.1', '2: up 1.1'])
  expect(events).toContain('1: refused 3')
})

test('frames arrive in order and are copies', async () => {
  const { one } = await startPair()
  for (let i = 0; i < 50; i++) expect(one.send(2, Uint8Array.of(i))).toBe(true)
  await clock.run(100)
  expect(events.filter((event) => event.includes('frame'))).toEqual(
    Array.from({ length: 50 }, (_, i) => `2: frame 1 ${i}`),
  )
  expect(one.send(3, Uint8Array.of(1))).toBe(false)
})

test('a sender that changes a frame it gave away is found', async () => {
  const { one } = await startPair()
  const frame = Uint8Array.of(1)
  one.send(2, frame)
  frame[0] = 2
  await expect(clock.run(100)).rejects.toThrow('given away')
})

test('one way blocked holds frames up until it is healed, and the other way works', async () => {
  const { one, two } = await startPair()
  network.block(addressOf(1), addressOf(2))
  one.send(2, Uint8Array.of(7))
  two.send(1, Uint8Array.of(8))
  await clock.run(1_000)
  expect(events).toContain('1: frame 2 8')
  expect(events).not.toContain('2: frame 1 7')
  network.unblock(addressOf(1), addressOf(2))
  expect(await clock.runUntil(heard('2: frame 1 7'), 100)).toBe(true)
})

test('a reset loses what is under way and tells both sides, who meet again', async () => {
  const { one } = await startPair()
  one.send(2, Uint8Array.of(9))
  network.reset(addressOf(1), addressOf(2))
  await clock.run(1_000)
  expect(events).not.toContain('2: frame 1 9')
  const of = (node: string) => events.filter((event) => event.startsWith(node) && !event.includes('refused'))
  expect(of('1')).toEqual(['1: down 2', '1: up 2.1'])
  expect(of('2')).toEqual(['2: down 1', '2: up 1.1'])
})

test('a killed process is noticed and refused; its newer incarnation is taken', async () => {
  await startPair()
  network.host(addressOf(2)).killProcess()
  expect(await clock.runUntil(heard('1: refused 2'), 1_000)).toBe(true)
  expect(events).toContain('1: down 2')
  await startNode(2, 2)
  expect(await clock.runUntil(heard('1: up 2.2'), 3_000)).toBe(true)
})

test('a machine without power is silence', async () => {
  const { one } = await startPair()
  network.host(addressOf(2)).powerOff()
  one.send(2, Uint8Array.of(1))
  await clock.run(10_000)
  expect(events.filter((event) => !event.includes('3'))).toEqual([])
  network.host(addressOf(2)).powerOn()
  one.send(2, Uint8Array.of(2))
  expect(await clock.runUntil(heard('1: down 2'), 100)).toBe(true)
})

test('guests are answered, refused with the code, and not left waiting', async () => {
  const { one } = await startPair()
  const ask = async (address: string, byte: number) => {
    const asked = one.ask(address, Uint8Array.of(byte), 500).then(
      (answer) => answer.join(),
      (error) => (error as CordilleraError).code,
    )
    let result: string | undefined
    void asked.then((value) => {
      result = value
    })
    await clock.runUntil(() => result !== undefined, 1_000)
    return result
  }
  expect(await ask(addressOf(2), 5)).toBe('5')
  expect(await ask(addressOf(2), 0)).toBe('JOIN_REFUSED')
  expect(await ask(addressOf(3), 5)).toBe('UNAVAILABLE')
  network.block(addressOf(2), addressOf(1))
  expect(await ask(addressOf(2), 5)).toBe('UNAVAILABLE')
})
