import type { Version } from '@cordillera/base'
import type { Descriptor, Mutation } from '@cordillera/ranges'
import type { DecidedReply, RangeReply, RangeRequest } from '@cordillera/wire'
import { describe, expect, it } from 'vitest'
import { keyIn, readOf, type Store, Stores, stepOf, writeOf } from './testing/stores.js'

/** Readers who meet a lock, one schedule for each of the answers that they may get, and for what may happen before it comes. */
const transaction = { nodeId: 7, incarnation: 1, sequence: 9 }
const HOME = 'home'

function textsOf(reply: RangeReply | undefined): (string | undefined)[] {
  const text = (value: { readonly value: Uint8Array } | undefined) => value && new TextDecoder().decode(value.value)
  if (reply?.kind === 'scanned') return reply.entries.map((entry) => `${entry.key.slice(-1)}=${text(entry)}`)
  if (reply?.kind !== 'values') throw new Error(`a reply of kind ${reply?.kind}`)
  return reply.values.map(text)
}

function versionOf(reply: RangeReply | undefined): Version {
  if (reply?.kind !== 'written') throw new Error(`a reply of kind ${reply?.kind}`)
  return reply.outcomes[0]!
}

const put = (key: string, value: string): Mutation => ({ kind: 'put', key, value: new TextEncoder().encode(value) })

class Scene {
  asked = 0
  /** What the record says, at every look. */
  answer: () => DecidedReply | Promise<DecidedReply> = () => ({ kind: 'decided', state: 'pending', version: 0 })

  private constructor(
    readonly stores: Stores,
    readonly descriptor: Descriptor,
    readonly leader: Store,
  ) {
    stores.askOutcome = async () => {
      this.asked++
      return this.answer()
    }
  }

  static async open(): Promise<Scene> {
    const stores = await Stores.open(3, 1)
    await stores.untilLed()
    await stores.pass(1_000)
    const descriptor = stores.descriptors[1]!
    return new Scene(stores, descriptor, stores.leaderOf(descriptor.rangeId)!)
  }

  key(name: string): string {
    return keyIn(this.descriptor, name)
  }

  async write(name: string, value: string): Promise<Version> {
    return versionOf(await this.stores.execute(writeOf(this.descriptor, this.key(name), value)))
  }

  async lock(...mutations: Mutation[]): Promise<Version> {
    const step = { step: 'lock', transaction, home: HOME, mutations, participants: [] } as const
    return versionOf(await this.stores.execute(stepOf(this.descriptor, mutations[0]!.key, step)))
  }

  async resolve(version: Version, ...keys: string[]): Promise<void> {
    await this.stores.execute(stepOf(this.descriptor, keys[0]!, { step: 'resolve', transaction, version, keys }))
  }

  async read(name: string, at = 0): Promise<string | undefined> {
    return textsOf(await this.stores.execute(readOf(this.descriptor, this.key(name), at)))[0]
  }

  async scan(
    options: { at?: Version; limit?: number; reverse?: boolean } = {},
  ): Promise<[(string | undefined)[], boolean]> {
    const { rangeId, epoch } = this.descriptor
    const { at = 0, limit = 100, reverse = false } = options
    const span = { start: this.key(''), end: this.key('z'), reverse, limit, bytesMax: 1 << 20, values: true, at }
    const request: RangeRequest = { kind: 'scan', rangeId, epochVersion: epoch.version, byFollower: false, ...span }
    const reply = await this.stores.execute(request)
    if (reply.kind !== 'scanned') throw new Error(`a reply of kind ${reply.kind}`)
    return [textsOf(reply), reply.more]
  }

  committed(version: Version): void {
    this.answer = () => ({ kind: 'decided', state: 'committed', version })
  }
}

describe('a reader who meets a lock', () => {
  it('that is a late copy, of a transaction that committed before it, sees what has been written since', async () => {
    const scene = await Scene.open()
    const committed = scene.stores.oracle.take()
    await scene.write('k', 'later')
    await scene.lock(put(scene.key('k'), 'of the transaction'))
    scene.committed(committed)
    expect(await scene.read('k')).toBe('later')
    expect(await scene.scan()).toEqual([['k=later'], false])
  })

  it('sees what is below it while its transaction is pending, or was aborted, and waits for nothing', async () => {
    const scene = await Scene.open()
    await scene.write('k', 'old')
    await scene.lock(put(scene.key('k'), 'new'))
    for (const state of ['pending', 'aborted'] as const) {
      scene.answer = () => ({ kind: 'decided', state, version: 0 })
      expect([await scene.read('k'), await scene.read('k', scene.stores.oracle.take())]).toEqual(['old', 'old'])
    }
  })

  it('sees its change once that is committed, at or above the version of that alone', async () => {
    const scene = await Scene.open()
    await scene.write('k', 'old')
    const before = scene.stores.oracle.take()
    await scene.lock(put(scene.key('k'), 'new'))
    const between = scene.stores.oracle.take()
    const version = scene.stores.oracle.take()
    scene.committed(version)
    expect(await scene.read('k', before)).toBe('old')
    expect(scene.asked).toBe(0)
    expect([await scene.read('k', between), await scene.read('k', version), await scene.read('k')]).toEqual([
      'old',
      'new',
      'new',
    ])
    await scene.resolve(version, scene.key('k'))
    expect([await scene.read('k', between), await scene.read('k', version), await scene.read('k')]).toEqual([
      'old',
      'new',
      'new',
    ])
  })

  it('looks again where there is no record: it may have been resolved, and forgotten, in the meantime', async () => {
    const scene = await Scene.open()
    await scene.write('k', 'old')
    await scene.lock(put(scene.key('k'), 'new'))
    const version = scene.stores.oracle.take()
    scene.answer = async () => {
      await new Promise<void>((resolve) => {
        const request = stepOf(scene.descriptor, scene.key('k'), {
          ...{ step: 'resolve', transaction, version, keys: [scene.key('k')] },
        })
        scene.leader.replicas.execute(request, () => resolve())
      })
      return { kind: 'decided', state: 'absent', version: 0 }
    }
    expect([await scene.read('k', scene.stores.oracle.take()), scene.asked]).toEqual(['new', 1])
  })

  it('and is behind, as a follower may be, waits until it has caught up with where there is no record any more', async () => {
    const scene = await Scene.open()
    const { stores, descriptor, leader } = scene
    await scene.write('k', 'old')
    await scene.lock(put(scene.key('k'), 'new'))
    const follower = [...stores.stores.values()].find((store) => store !== leader)!
    const { state, replicaId } = follower.replicas.replica(descriptor.rangeId)!
    await stores.until(() => state.memory.transactions.hasLocks, 'the follower has the lock')
    stores.loses = (message) => message.kind === 'append-request' && message.to === replicaId
    const step = { step: 'resolve', transaction, version: stores.oracle.take(), keys: [scene.key('k')] } as const
    scene.answer = async () => {
      await new Promise<void>((resolve) => {
        leader.replicas.execute(stepOf(descriptor, scene.key('k'), step), () => resolve())
      })
      return { kind: 'decided', state: 'absent', version: 0 }
    }
    const request = readOf(descriptor, scene.key('k')) as Extract<RangeRequest, { kind: 'read' }>
    const replies: RangeReply[] = []
    follower.replicas.execute({ ...request, byFollower: true }, (reply) => replies.push(reply))
    await stores.pass(2_000)
    expect([scene.asked, replies]).toEqual([1, []])
    stores.loses = () => false
    await stores.until(() => replies.length > 0, 'the read')
    expect([scene.asked, textsOf(replies[0])]).toEqual([1, ['new']])
  })

  it('passes over a lock without a record that is still there', async () => {
    const scene = await Scene.open()
    await scene.write('k', 'old')
    await scene.lock(put(scene.key('k'), 'new'))
    scene.answer = () => ({ kind: 'decided', state: 'absent', version: 0 })
    expect([await scene.read('k'), await scene.read('k', scene.stores.oracle.take())]).toEqual(['old', 'old'])
    expect(scene.asked).toBe(2)
  })

  it('is refused, and may come again, when nobody can tell', async () => {
    const scene = await Scene.open()
    await scene.lock(put(scene.key('k'), 'new'))
    scene.answer = () => Promise.reject(new Error('out of reach'))
    expect(await scene.stores.execute(readOf(scene.descriptor, scene.key('k')))).toMatchObject({ kind: 'refused' })
    expect(await scene.read('other')).toBe(undefined)
  })

  it('sees in a scan what is written and deleted through locks, in order, within its limits', async () => {
    const scene = await Scene.open()
    for (const name of ['b', 'd', 'f']) await scene.write(name, 'old')
    const changes = [put(scene.key('a'), 'new'), put(scene.key('d'), 'new'), put(scene.key('g'), 'new')]
    await scene.lock(...changes, { kind: 'delete', key: scene.key('b') }, { kind: 'delete', key: scene.key('f') })
    const at = scene.stores.oracle.take()
    expect(await scene.scan({ at })).toEqual([['b=old', 'd=old', 'f=old'], false])
    const version = scene.stores.oracle.take()
    scene.committed(version)
    const later = scene.stores.oracle.take()
    expect(await scene.scan({ at })).toEqual([['b=old', 'd=old', 'f=old'], false])
    expect(await scene.scan({ at: later })).toEqual([['a=new', 'd=new', 'g=new'], false])
    expect(await scene.scan({ at: later, reverse: true })).toEqual([['g=new', 'd=new', 'a=new'], false])
    for (let limit = 1; limit <= 3; limit++) {
      const [entries] = await scene.scan({ at: later, limit })
      expect(entries).toEqual(['a=new', 'd=new', 'g=new'].slice(0, limit))
    }
    expect(await scene.scan({ at: later, limit: 2 })).toEqual([['a=new', 'd=new'], true])
    await scene.resolve(version, ...['a', 'b', 'd', 'f', 'g'].map((name) => scene.key(name)))
    expect(await scene.scan({ at: later })).toEqual([['a=new', 'd=new', 'g=new'], false])
  })
})

describe('a record', () => {
  it('that was read as pending at a timestamp is committed above that, though its timestamp was on the way', async () => {
    const { stores, descriptor, leader, ...scene } = Object.assign(await Scene.open(), {})
    const home = keyIn(descriptor, 'h')
    const lock = { step: 'lock', transaction, home, mutations: [put(home, 'v')], participants: [] } as const
    await stores.execute(stepOf(descriptor, home, lock))
    stores.oracle.isHolding = true
    const committed: RangeReply[] = []
    leader.replicas.execute(stepOf(descriptor, home, { step: 'commit', transaction }), (reply) => committed.push(reply))
    await stores.until(() => stores.oracle.onTheWay === 1, 'the commit has its timestamp')
    const at = stores.oracle.take()
    const { rangeId, epoch } = descriptor
    const question: RangeRequest = { kind: 'outcome', rangeId, epochVersion: epoch.version, at, home, transaction }
    expect(await stores.execute(question)).toEqual({ kind: 'decided', state: 'pending', version: 0 })
    stores.oracle.deliver()
    await stores.until(() => committed.length > 0, 'the commit')
    expect(versionOf(committed[0])).toBeGreaterThan(at)
    expect(await stores.execute({ ...question, at: 0 })).toMatchObject({
      state: 'committed',
      version: versionOf(committed[0]),
    })
    expect(scene.asked).toBe(0)
  })
})
