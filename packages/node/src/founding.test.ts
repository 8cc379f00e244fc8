import { CordilleraError, SeededRandom } from '@cordillera/base'
import type { CrashKeeps } from '@cordillera/raft-log'
import { describe, expect, it } from 'vitest'
import type { FoundingConfig } from './config.js'
import { encodeQuestion } from './join-messages.js'
import { type FoundingMachine, FoundingWorld } from './testing/founding-world.js'

const init = (nodes: number): FoundingConfig => ({ kind: 'init', nodes, ranges: 4 })
const join = (...addresses: string[]): FoundingConfig => ({ kind: 'join', addresses })
const none: FoundingConfig = { kind: 'none' }

/** The founder first. */
const FLAGS: readonly FoundingConfig[] = [init(3), join('node-1:7100'), join('node-3:7100', 'node-1:7100')]

function startAll(world: FoundingWorld): void {
  for (const [i, machine] of world.machines.entries()) if (machine.process === undefined) machine.start(FLAGS[i]!)
}

function untilAllFounded(world: FoundingWorld): Promise<void> {
  return world.until(() => world.machines.every(({ process }) => process?.founded !== undefined), 'all are founded')
}

/** One cluster: the same document everywhere, a place each, nobody twice. */
function expectOneCluster(world: FoundingWorld): void {
  const founded = world.machines.map(({ process }) => process!.founded!)
  for (const { clusterId, document } of founded) {
    expect(clusterId).toBe(founded[0]!.clusterId)
    expect(document).toEqual(founded[0]!.document)
  }
  expect(founded.map(({ nodeId }) => nodeId).sort()).toEqual([1, 2, 3])
  expect(founded[0]!.nodeId).toBe(1)
  for (const [i, { nodeId }] of founded.entries()) {
    const node = founded[0]!.document.nodes.find((candidate) => candidate.nodeId === nodeId)
    expect(node).toMatchObject({ peerAddress: world.machines[i]!.address })
  }
}

/**
 * The moment at which anybody is founded, as far as a read of its disk can tell: whatever happens now, everybody has the
 * document durably.
 */
function expectDocumentDurableEverywhere(world: FoundingWorld): void {
  for (const machine of world.machines) machine.crash('none')
  const identities = world.identities()
  for (const identity of identities) expect(['prepared', 'founded']).toContain(identity?.phase)
  const documents = identities.map((identity) => identity !== undefined && 'document' in identity && identity.document)
  for (const document of documents) expect(document).toEqual(documents[0])
}

function isAnybodyFounded(world: FoundingWorld): boolean {
  return world.identities().some((identity) => identity?.phase === 'founded')
}

describe('founding', () => {
  it('gives three nodes one document and one place each', async () => {
    const world = new FoundingWorld({ seed: 1, machines: 3 })
    startAll(world)
    await untilAllFounded(world)
    expectOneCluster(world)
    const { clusterId, document } = world.machines[0]!.process!.founded!
    expect(clusterId).toMatch(/^[0-9a-f]{32}$/)
    expect(document.descriptors).toHaveLength(5)
    for (const machine of world.machines) machine.crash('none')
    expect(world.identities().map((identity) => identity?.phase)).toEqual(['founded', 'founded', 'founded'])
  })

  it('gives two who ask at the same moment a place each', async () => {
    const world = new FoundingWorld({ seed: 1, machines: 1 })
    const [machine] = world.machines as [FoundingMachine]
    const { founding } = machine.start(init(4))
    const asked = ['a', 'b'].map((digit) => {
      const at = { clusterId: undefined, peerAddress: `${digit}:1`, httpAddress: '', locality: '' }
      return founding.onGuest(encodeQuestion({ token: digit.repeat(32), ...at }))
    })
    await world.clock.run(Promise.all(asked))
    const identity = machine.identity()
    const places = identity?.phase === 'founding' ? identity.places : []
    expect(places.map(({ node }) => node.nodeId)).toEqual([2, 3])
  })

  it('of a single node needs nobody', async () => {
    const world = new FoundingWorld({ seed: 1, machines: 1 })
    const process = world.machines[0]!.start(init(1))
    await world.until(() => process.founded !== undefined, 'it is founded')
    expect(process.founded).toMatchObject({ nodeId: 1, incarnation: 1, replicasCreated: false })
    expect(process.founded!.document.descriptors.every(({ replicas }) => replicas.length === 1)).toBe(true)
  })

  it('waits for as many joiners as were named, and for the founder', async () => {
    const world = new FoundingWorld({ seed: 1, machines: 3 })
    world.machines[1]!.start(FLAGS[1]!)
    for (let i = 0; i < 500; i++) await world.next()
    world.machines[0]!.start(FLAGS[0]!)
    for (let i = 0; i < 500; i++) await world.next()
    expect(world.identities().map((identity) => identity?.phase)).toEqual(['founding', 'joining', undefined])
    startAll(world)
    await untilAllFounded(world)
    expectOneCluster(world)
  })

  it('lets a fourth of three wait while it goes on, and admits it once it is done, as one node whatever crashes', async () => {
    const world = new FoundingWorld({ seed: 1, machines: 4 })
    const [founder, second, third, fourth] = world.machines as [
      FoundingMachine,
      FoundingMachine,
      FoundingMachine,
      FoundingMachine,
    ]
    founder.start(init(3))
    second.start(join(founder.address))
    await world.until(() => hasPlaces(founder, 1), 'the first place is given')
    third.start(join(founder.address))
    await world.until(() => founder.identity()?.phase === 'prepared', 'the places are taken')
    third.crash('all')
    const early = fourth.start(join(founder.address))
    await world.until(() => world.clock.now() >= 20_000, 'a while has passed')
    expect([early.error, fourth.identity()?.phase, founder.identity()?.phase]).toEqual([
      undefined,
      'joining',
      'prepared',
    ])

    third.start(join(founder.address))
    const members = [founder, second, third]
    await world.until(() => members.every(({ process }) => process!.founded !== undefined), 'the three are founded')
    // Nobody can ask the system range yet.
    await world.until(() => world.clock.now() >= 40_000, 'a while has passed')
    expect(fourth.identity()?.phase).toBe('joining')
    const tokens: string[] = []
    founder.process!.founding.admitWith((token) => {
      tokens.push(token)
      // The answer is lost with whoever was to hear it.
      if (tokens.length === 1) fourth.crash('all')
      if (tokens.length === 2) return Promise.reject(new CordilleraError('UNAVAILABLE', { detail: 'no leader' }))
      return Promise.resolve(4)
    })
    await world.until(() => tokens.length === 1, 'it has asked')
    const again = fourth.start(join(founder.address))
    await world.until(() => again.founded !== undefined, 'it is a member')
    expect(new Set(tokens).size).toBe(1)
    expect(again.founded).toMatchObject({ nodeId: 4, replicasCreated: true, incarnation: 2 })
    expect(again.founded!.document).toEqual(founder.process!.founded!.document)
    fourth.crash('none')
    const member = fourth.start(none)
    await world.until(() => member.founded !== undefined, 'it is a member still')
    expect(member.founded).toMatchObject({ nodeId: 4, incarnation: 3 })
  })

  it('goes on to the next address where nobody, or no founder, answers', async () => {
    const world = new FoundingWorld({ seed: 1, machines: 3 })
    const [founder, second, third] = world.machines as [FoundingMachine, FoundingMachine, FoundingMachine]
    founder.start(init(3))
    second.start(join('nobody:1', third.address, founder.address))
    third.start(join(second.address, 'nobody:1', founder.address))
    await untilAllFounded(world)
    expectOneCluster(world)
  })

  it('gives a joiner that asked from elsewhere before the address it asks from now', async () => {
    const world = new FoundingWorld({ seed: 1, machines: 1 })
    const founder = world.machines[0]!.start(init(3))
    const ask = (peerAddress: string) => {
      const at = { peerAddress, httpAddress: '', locality: '' }
      const token = 'a'.repeat(32)
      return world.clock.run(founder.founding.onGuest(encodeQuestion({ token, clusterId: undefined, ...at })))
    }
    await ask('old:1')
    await ask('new:1')
    const identity = world.machines[0]!.identity()
    expect(identity).toMatchObject({ phase: 'founding', places: [{ node: { nodeId: 2, peerAddress: 'new:1' } }] })
    expect(hasPlaces(world.machines[0]!, 1)).toBe(true)
  })

  it('gives a joiner that lost its directory the place at its address, and none to another', async () => {
    const world = new FoundingWorld({ seed: 1, machines: 1 })
    const founder = world.machines[0]!.start(init(4))
    const ask = (digit: string, peerAddress: string) => {
      const question = { token: digit.repeat(32), clusterId: undefined, peerAddress, httpAddress: '', locality: '' }
      return world.clock.run(founder.founding.onGuest(encodeQuestion(question)))
    }
    await ask('a', 'here:1')
    await ask('b', 'there:1')
    await ask('c', 'here:1')
    const identity = world.machines[0]!.identity()
    const places = identity?.phase === 'founding' ? identity.places : []
    expect(places.map(({ token, node }) => [token[0], node.nodeId])).toEqual([
      ['c', 2],
      ['b', 3],
    ])
  })
})

describe('founding, when somebody crashes', () => {
  const keeps: [string, (seed: number) => CrashKeeps][] = [
    ['the process alone', () => 'all'],
    ['with all that was not synced', () => 'none'],
    ['with some of what was not synced', (seed) => new SeededRandom(seed)],
  ]

  it.each(keeps)('at every disk operation of each, %s, ends in one cluster', async (_what, keep) => {
    const operations = await countOperations()
    for (const [victim, count] of operations.entries()) {
      for (let at = 1; at <= count; at++) {
        const world = new FoundingWorld({ seed: at, machines: 3 })
        startAll(world)
        const machine = world.machines[victim]!
        await world.until(() => machine.operations >= at, `operation ${at}`)
        machine.crash(keep(at))
        if (isAnybodyFounded(world)) expectDocumentDurableEverywhere(world)
        else if (at % 2 === 0) for (let i = 0; i < 300; i++) await world.next()
        startAll(world)
        await world.until(() => isAnybodyFounded(world), 'somebody is founded')
        expectDocumentDurableEverywhere(world)
        startAll(world)
        await untilAllFounded(world)
        expectOneCluster(world)
      }
    }
  })

  it('of a single node, at every disk operation, it is founded at the next start', async () => {
    const counting = new FoundingWorld({ seed: 1, machines: 1 })
    const whole = counting.machines[0]!.start(init(1))
    await counting.until(() => whole.founded !== undefined, 'it is founded')
    for (let at = 1; at <= counting.machines[0]!.operations; at++) {
      const world = new FoundingWorld({ seed: at, machines: 1 })
      const machine = world.machines[0]!
      machine.start(init(1))
      await world.until(() => machine.operations >= at, `operation ${at}`)
      machine.crash('all')
      const process = machine.start(init(1))
      await world.until(() => process.founded !== undefined, `it is founded after a crash at operation ${at}`)
    }
  })

  it('again and again, with answers lost, it ends in one cluster once they stop', async () => {
    for (let seed = 1; seed <= 60; seed++) {
      const world = new FoundingWorld({ seed, machines: 3 })
      world.lossOneIn = 2 + world.random.below(6)
      const incarnations = new Map<FoundingMachine, number>()
      for (let event = 0; event < 400; event++) {
        if (world.random.below(40) === 0) {
          const machine = world.machines[world.random.below(3)]!
          machine.crash(world.random.below(2) === 0 ? 'all' : world.random)
        }
        if (world.random.below(20) === 0) startAll(world)
        for (const machine of world.machines) expectCountedUp(machine, incarnations)
        await world.next()
      }
      world.lossOneIn = 0
      startAll(world)
      await untilAllFounded(world)
      expectOneCluster(world)
    }
  })

  it('remembers that the replicas were made', async () => {
    const world = new FoundingWorld({ seed: 1, machines: 1 })
    const [machine] = world.machines as [FoundingMachine]
    const first = machine.start(init(1))
    await world.until(() => first.founded !== undefined, 'it is founded')
    await world.clock.run(first.founding.markReplicasCreated())
    machine.crash('none')
    const second = machine.start(none)
    await world.until(() => second.founded !== undefined, 'it is founded')
    expect(second.founded).toMatchObject({ incarnation: 2, replicasCreated: true })
  })

  it('starts of a founded cluster ask nobody and count up', async () => {
    const world = new FoundingWorld({ seed: 1, machines: 3 })
    startAll(world)
    await untilAllFounded(world)
    const [machine] = world.machines as [FoundingMachine]
    const before = machine.process!.founded!
    for (const other of world.machines) other.crash('none')
    const process = machine.start(none)
    await world.until(() => process.founded !== undefined, 'it is founded')
    expect(process.founded).toEqual({ ...before, incarnation: before.incarnation + 1 })
  })

  it('and its disk fails, the founder says so', async () => {
    const world = new FoundingWorld({ seed: 1, machines: 3 })
    const [founder] = world.machines as [FoundingMachine]
    founder.start(FLAGS[0]!)
    await world.until(() => founder.identity()?.phase === 'founding', 'it takes joiners')
    for (let i = 0; i < 20; i++) await world.next()
    founder.disk.fail({ operation: 'sync', code: 'EIO' })
    startAll(world)
    await world.until(() => founder.process!.error !== undefined, 'it fails')
    expect(founder.process!.error).toMatchObject({ code: 'EIO' })
    for (let i = 0; i < 1_000; i++) await world.next()
    expect(founder.identity()).toMatchObject({ phase: 'founding', places: [] })
  })
})

describe('the wrong flag', () => {
  /** All flags that a start could be given by mistake. */
  const wrong: FoundingConfig[] = [init(1), init(3), join('node-2:7100'), join('nobody:1'), none]

  it('at any restart while a cluster is founded never makes a second one', async () => {
    const operations = await countOperations()
    for (const [victim, count] of operations.entries()) {
      for (let at = 1; at <= count; at += 2) {
        const world = new FoundingWorld({ seed: at, machines: 3 })
        startAll(world)
        const machine = world.machines[victim]!
        await world.until(() => machine.operations >= at, `operation ${at}`)
        machine.crash(new SeededRandom(at))
        // A directory without an identity has not been started before.
        if (machine.identity() !== undefined) {
          machine.start(wrong[(at >> 1) % wrong.length]!)
          for (let i = 0; i < 400; i++) await world.next()
          machine.crash('all')
        }
        startAll(world)
        await untilAllFounded(world)
        expectOneCluster(world)
      }
    }
  })

  it('at a restart of a member is ignored, and said to be', async () => {
    const world = new FoundingWorld({ seed: 1, machines: 3 })
    startAll(world)
    await untilAllFounded(world)
    const { clusterId } = world.machines[0]!.process!.founded!
    for (const machine of world.machines) {
      for (const flags of wrong) {
        machine.crash('all')
        const process = machine.start(flags)
        await world.until(() => process.founded !== undefined, 'it is founded')
        expect(process.founded!.clusterId).toBe(clusterId)
        expect(process.events.includes('init-ignored')).toBe(flags.kind === 'init')
      }
    }
  })

  it('that names another cluster does not stop a node that has its document', async () => {
    const world = new FoundingWorld({ seed: 1, machines: 4 })
    const [founder, second, third, alone] = world.machines as [
      FoundingMachine,
      FoundingMachine,
      FoundingMachine,
      FoundingMachine,
    ]
    const other = alone.start(init(1))
    await world.until(() => other.founded !== undefined, 'the other cluster is founded')
    founder.start(FLAGS[0]!)
    second.start(join(founder.address))
    third.start(join(founder.address))
    await world.until(() => third.identity()?.phase === 'prepared', 'it has the document')
    third.crash('all')
    third.start(join(alone.address))
    const members = [founder, second, third]
    await world.until(() => members.every(({ process }) => process!.founded !== undefined), 'the three are founded')
    expect(third.process!.founded!.clusterId).toBe(founder.process!.founded!.clusterId)
    expect(third.process!.founded!.clusterId).not.toBe(other.founded!.clusterId)
  })

  it('with more text than others would take is an error, and nothing is written', async () => {
    const world = new FoundingWorld({ seed: 1, machines: 1 })
    world.localityOf = () => 'rack=x'.repeat(1_000)
    const process = world.machines[0]!.start(init(1))
    await world.until(() => process.error !== undefined, 'it is refused')
    expect(process.error).toMatchObject({ code: 'CONFIG_INVALID' })
    expect(world.machines[0]!.identity()).toBeUndefined()
  })

  it('on an empty directory is an error that says what to do', async () => {
    const world = new FoundingWorld({ seed: 1, machines: 1 })
    const process = world.machines[0]!.start(none)
    await world.until(() => process.error !== undefined, 'it is refused')
    expect(process.error).toBeInstanceOf(CordilleraError)
    expect(process.error).toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining('--init') })
    expect(world.machines[0]!.identity()).toBeUndefined()
  })
})

/** How many operations each machine's disk sees when nothing goes wrong. */
async function countOperations(): Promise<number[]> {
  const world = new FoundingWorld({ seed: 1, machines: 3 })
  startAll(world)
  await untilAllFounded(world)
  return world.machines.map(({ operations }) => operations)
}

function hasPlaces(founder: FoundingMachine, count: number): boolean {
  const identity = founder.identity()
  return identity?.phase === 'founding' && identity.places.length === count
}

/** What a node said under one incarnation it never says under an earlier one: none is used twice. */
function expectCountedUp(machine: FoundingMachine, incarnations: Map<FoundingMachine, number>): void {
  const incarnation = machine.process?.founded?.incarnation
  if (incarnation === undefined) return
  expect(incarnation).toBeGreaterThanOrEqual(incarnations.get(machine) ?? 0)
  incarnations.set(machine, incarnation)
}
