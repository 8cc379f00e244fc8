import { type Random, SeededRandom } from '@cordillera/base'
import { Commands } from './commands.js'
import {
  COMMANDS,
  type DISK_FAULTS,
  type FaultKind,
  type FaultMix,
  NETWORK_FAULTS,
  PROCESS_FAULTS,
} from './seed-options.js'
import type { SimulatedCluster } from './simulated-cluster.js'
import type { Crash, DiskImage, SimulatedNode } from './simulated-node.js'

/**
 * What goes wrong, when, and for how long: one thing after the other, each healed by itself after a while, several at
 * once. Everything from the seed; what one fault does and how long it lasts depends on no other, so that one can be left
 * out. {@link FaultSchedule.stop} begins nothing new; {@link FaultSchedule.heal} undoes all.
 *
 * The *atlas* of what may be damaged for good: the disk of one machine, the same for a whole run (`victim`), so that a
 * quorum keeps everything that was durable.
 */
export class FaultSchedule {
  readonly #cluster: SimulatedCluster
  readonly #random: Random
  readonly #mix: FaultMix
  readonly #deck: readonly FaultKind[]
  readonly #victim: SimulatedNode
  #struck = 0
  #isStopped = false
  #isHeld = false
  #underWay = 0
  /** How often what happened. */
  readonly counts = new Map<string, number>()
  readonly commands: Commands

  constructor(cluster: SimulatedCluster, mix: FaultMix) {
    this.#cluster = cluster
    this.#random = cluster.fork()
    this.#mix = mix
    this.#deck = Object.entries(mix.shares).flatMap(([kind, share]) =>
      new Array<FaultKind>(share).fill(kind as FaultKind),
    )
    this.#victim = oneOf(this.#random, cluster.machines)
    this.commands = new Commands(cluster, this.#victim)
  }

  /** How many faults there have been, those left out included. */
  get struck(): number {
    return this.#struck
  }

  start(): void {
    if (this.#deck.length === 0) return
    this.#cluster.clock.after(this.#random.below(this.#mix.pauseMsMax), () => {
      if (this.#isStopped) return
      if (this.#isHeld) return this.start()
      const kind = oneOf(this.#random, this.#deck)
      const random = new SeededRandom(this.#random.u32())
      const place = this.#struck++
      if (!this.#mix.leftOut?.includes(place)) new Strike(this, this.#cluster, random, this.#victim).run(kind)
      this.start()
    })
  }

  stop(): void {
    this.#isStopped = true
  }

  /** Heals the network, the clocks and the disks, and starts what is down. */
  heal(): void {
    this.stop()
    const { network, machines } = this.#cluster
    network.heal()
    for (const machine of machines) {
      machine.heal()
      this.restart(machine)
      this.#supervise(machine, this.#cluster.clock.now() + SUPERVISED_MS)
    }
  }

  /** What failed just before may still stop a node a moment later: it is started again, as whoever runs it would do. */
  #supervise(machine: SimulatedNode, untilMs: number): void {
    const { clock } = this.#cluster
    clock.after(500, () => {
      if (machine.status.kind === 'failed' && machine.hasBadDisk && !machine.isWiped) machine.start()
      if (clock.now() < untilMs) this.#supervise(machine, untilMs)
    })
  }

  /** Started as soon as it is down: a node that is closing first finishes that, or fails on a disk that was bad. */
  restart(machine: SimulatedNode): void {
    machine.start()
    const { kind } = machine.status
    if (kind !== 'up' && !machine.isWiped && !machine.isOutdated)
      this.#cluster.clock.after(100, () => this.restart(machine))
  }

  /** Undoes a fault, unless everything is healed before. */
  later(random: Random, action: () => void): void {
    this.#underWay++
    this.#cluster.clock.after(50 + random.below(this.#mix.durationMsMax), () => {
      this.#underWay--
      if (!this.#isStopped) action()
    })
  }

  /** Nothing new goes wrong until {@link release}. */
  hold(): void {
    this.#isHeld = true
  }

  release(): void {
    this.#isHeld = false
  }

  /** Every fault is undone, and everyone is there and hears everyone. Machines that are gone for good never will be. */
  get isCalm(): boolean {
    return !this.#isStopped && this.#underWay === 0 && this.#cluster.isWhole()
  }

  get isStopped(): boolean {
    return this.#isStopped
  }

  note(kind: FaultKind, where: string): void {
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1)
    this.#cluster.note(`fault ${this.#struck - 1} ${kind} ${where}`)
  }
}

const SUPERVISED_MS = 5_000
/** How long the others are given to become calm before an old image is given up. */
const IMAGE_WAIT_MS = 6_000
/** In a calm cluster everyone has heard everyone's latest state by then. */
const HEARD_MS = 1_500
const FOUND_OUT_MS = 3_000

/** One fault, with its own source of chance. */
class Strike {
  readonly #schedule: FaultSchedule
  readonly #cluster: SimulatedCluster
  readonly #random: Random
  readonly #victim: SimulatedNode

  constructor(schedule: FaultSchedule, cluster: SimulatedCluster, random: Random, victim: SimulatedNode) {
    this.#schedule = schedule
    this.#cluster = cluster
    this.#random = random
    this.#victim = victim
  }

  run(kind: FaultKind): void {
    const machine = oneOf(this.#random, this.#cluster.machines)
    if (isOneOf(NETWORK_FAULTS, kind)) this.#strikeNetwork(kind, machine)
    else if (isOneOf(PROCESS_FAULTS, kind)) this.#strikeProcess(kind, machine)
    else if (isOneOf(COMMANDS, kind)) {
      const begun = this.#schedule.commands.begin(kind, machine, this.#random)
      if (begun !== undefined) this.#schedule.note(kind, begun)
    } else this.#strikeDisk(kind, machine)
  }

  #strikeNetwork(kind: (typeof NETWORK_FAULTS)[number], { address: from }: SimulatedNode): void {
    const others = this.#cluster.machines.map(({ address }) => address).filter((address) => address !== from)
    const to = oneOf(this.#random, others)
    const inward = others.map((other) => [other, from] as const)
    const outward = others.map((other) => [from, other] as const)
    switch (kind) {
      case 'partition':
        this.#block(kind, [
          [from, to],
          [to, from],
        ])
        break
      case 'halves':
      case 'bridge':
        this.#separate(kind, others, from)
        break
      case 'one-way':
        this.#block(kind, [[from, to]])
        break
      case 'isolate':
        this.#block(kind, oneOf(this.#random, [inward, outward, [...inward, ...outward]]))
        break
      case 'slow':
        this.#slow(kind, from, to, 1 + this.#random.below(oneOf(this.#random, [20, 600])))
        break
      case 'clog':
        this.#slow(kind, from, to, 1_000 + this.#random.below(4_000))
        break
      case 'reset':
        this.#cluster.network.reset(from, to)
        this.#schedule.note(kind, `${from} ${to}`)
    }
  }

  /** `between` is on one side, or, as a bridge, on both. */
  #separate(kind: 'halves' | 'bridge', others: readonly string[], between: string): void {
    const left = others.filter(() => this.#random.below(2) === 0)
    const right = others.filter((address) => !left.includes(address))
    if (kind === 'halves') left.push(between)
    const ways = left.flatMap((a) => right.flatMap((b) => [[a, b] as const, [b, a] as const]))
    if (ways.length > 0) this.#block(kind, ways)
  }

  #strikeProcess(kind: (typeof PROCESS_FAULTS)[number], machine: SimulatedNode): void {
    const { address, clock } = machine
    switch (kind) {
      case 'kill':
        this.#crash(kind, machine, 'killed')
        break
      case 'kill-all':
        for (const each of this.#cluster.machines) this.#crash(kind, each, 'killed')
        break
      case 'close':
        machine.close()
        this.#until(kind, address, () => this.#schedule.restart(machine))
        break
      case 'pause':
        machine.pause()
        this.#until(kind, address, () => machine.resume())
        break
      case 'drift': {
        const rate = 0.8 + this.#random.below(400) / 1_000
        clock.drift(rate)
        this.#until(kind, `${address} ${rate}`, () => clock.drift(1))
        break
      }
      case 'clock-jump': {
        const offsetMs = (this.#random.below(2_000) - 1_000) * 1_000
        clock.jump(offsetMs)
        this.#until(kind, `${address} ${offsetMs}`, () => clock.jump(0))
      }
    }
  }

  #strikeDisk(kind: (typeof DISK_FAULTS)[number], machine: SimulatedNode): void {
    const { address } = machine
    switch (kind) {
      case 'power-loss':
        this.#crash(kind, machine, 'power-lost')
        break
      case 'power-loss-all':
        for (const each of this.#cluster.machines) this.#crash(kind, each, 'power-lost')
        break
      case 'stall':
        machine.stallSyncs()
        this.#until(kind, address, () => machine.releaseSyncs())
        break
      case 'slow-disk':
        machine.syncExtraMs = 5 + this.#random.below(200)
        this.#until(kind, `${address} ${machine.syncExtraMs}`, () => {
          machine.syncExtraMs = 0
        })
        break
      case 'disk-error':
        machine.failDisk(oneOf(this.#random, ['write', 'sync'] as const))
        this.#until(kind, address, () => this.#schedule.restart(machine))
        break
      case 'disk-full':
        machine.fillDisk(this.#random.below(100 << 10))
        this.#until(kind, address, () => {
          machine.emptyDisk()
          this.#schedule.restart(machine)
        })
        break
      case 'rot':
        this.#rot()
        break
      case 'wipe':
        this.#victim.wipe()
        this.#until(kind, this.#victim.address, () => this.#victim.start())
        break
      case 'old-image':
        this.#keepImage()
    }
  }

  /**
   * The victim's disks as they are now come back some seconds later, or its log loses its end, once everyone has heard
   * from it since: what nobody who still lives has heard of, nobody can miss. It must be found out before anything else
   * goes wrong.
   */
  #keepImage(): void {
    const victim = this.#victim
    if (victim.node === undefined || victim.isRotten) return
    const image = victim.image()
    const before = victim.logDisk.lastWrittenThrough
    const { clock } = this.#cluster
    clock.after(500 + this.#random.below(3_000), () => {
      if (this.#schedule.isStopped || victim.isRotten) return
      this.#schedule.hold()
      const deadlineMs = clock.now() + IMAGE_WAIT_MS
      let since = clock.now()
      let writtenAt = victim.logDisk.lastWrittenThrough
      const whenCalm = (): void => {
        const { isCalm } = this.#schedule
        if (!isCalm) {
          since = clock.now()
          writtenAt = victim.logDisk.lastWrittenThrough
        }
        // A machine without replicas writes nothing, and has nothing to forget.
        const hasWritten = writtenAt !== before
        if (isCalm && hasWritten && clock.now() - since >= HEARD_MS) this.#restore(image, writtenAt)
        else if (this.#schedule.isStopped || clock.now() > deadlineMs) this.#schedule.release()
        else clock.after(100, whenCalm)
      }
      whenCalm()
    })
  }

  #restore(image: DiskImage, writtenAt: SimulatedNode['logDisk']['lastWrittenThrough']): void {
    const victim = this.#victim
    const isEndLost = this.#random.below(2) === 0 && victim.tryLoseEnd(writtenAt)
    if (!isEndLost) victim.restore(image)
    this.#schedule.note('old-image', `${victim.address} ${isEndLost ? 'end of the log' : 'all'}`)
    const { clock } = this.#cluster
    const deadlineMs = clock.now() + FOUND_OUT_MS
    const untilFoundOut = (): void => {
      if (victim.status.kind === 'failed') this.#schedule.release()
      else if (clock.now() < deadlineMs) clock.after(10, untilFoundOut)
      else this.#cluster.failures.push(`the old image of ${victim.address} was not found out`)
    }
    untilFoundOut()
  }

  /** Found when the place is next read, which is at a start at the latest. */
  #rot(): void {
    const where = this.#victim.rot(this.#random)
    if (where === undefined) return
    this.#schedule.note('rot', `${this.#victim.address} ${where}`)
    if (this.#random.below(2) === 0) this.#crash('kill', this.#victim, 'killed')
  }

  #until(kind: FaultKind, where: string, undo: () => void): void {
    this.#schedule.note(kind, where)
    this.#schedule.later(this.#random, undo)
  }

  #crash(kind: FaultKind, machine: SimulatedNode, how: Crash): void {
    machine.crash(how)
    this.#until(kind, machine.address, () => machine.start())
  }

  #slow(kind: FaultKind, from: string, to: string, extraMs: number): void {
    const { network } = this.#cluster
    network.slow(from, to, extraMs)
    this.#until(kind, `${from} ${to} ${extraMs}`, () => network.slow(from, to, 0))
  }

  #block(kind: FaultKind, ways: readonly (readonly [string, string])[]): void {
    const { network } = this.#cluster
    for (const [from, to] of ways) network.block(from, to)
    this.#until(kind, ways.map((way) => way.join('>')).join(' '), () => {
      for (const [from, to] of ways) network.unblock(from, to)
    })
  }
}

function isOneOf<T extends string>(kinds: readonly T[], kind: string): kind is T {
  return (kinds as readonly string[]).includes(kind)
}

function oneOf<T>(random: Random, items: readonly T[]): T {
  return items[random.below(items.length)]!
}
