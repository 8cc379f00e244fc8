import type { Random } from '@cordillera/base'
import type { SimulatedCluster } from './simulated-cluster.js'
import type { Crash, SimulatedNode } from './simulated-node.js'

/**
 * What goes wrong, when, and for how long: one thing after the other, each healed by itself after a while, several at
 * once. Everything from the seed. {@link FaultSchedule.stop} begins nothing new; {@link FaultSchedule.heal} undoes all.
 */
export interface FaultScheduleOptions {
  /** Between one fault and the next. */
  readonly pauseMsMax: number
  readonly durationMsMax: number
}

export const defaultFaults: FaultScheduleOptions = { pauseMsMax: 1_200, durationMsMax: 3_000 }

export class FaultSchedule {
  readonly #cluster: SimulatedCluster
  readonly #random: Random
  readonly #options: FaultScheduleOptions
  #isStopped = false
  /** How often what happened. */
  readonly counts = new Map<string, number>()

  constructor(cluster: SimulatedCluster, options: FaultScheduleOptions = defaultFaults) {
    this.#cluster = cluster
    this.#random = cluster.fork()
    this.#options = options
  }

  start(): void {
    this.#cluster.clock.after(this.#random.below(this.#options.pauseMsMax), () => {
      if (this.#isStopped) return
      this.#strike()
      this.start()
    })
  }

  stop(): void {
    this.#isStopped = true
  }

  /** Heals the network and the disks and starts what is down. */
  heal(): void {
    this.stop()
    const { network, machines } = this.#cluster
    network.heal()
    for (const machine of machines) {
      machine.logDisk.releaseSyncs()
      machine.identityDisk.releaseSyncs()
      this.#restart(machine)
    }
  }

  /** Started as soon as it is down: a node that is closing first finishes that. */
  #restart(machine: SimulatedNode): void {
    machine.start()
    if (machine.status.kind === 'closing') this.#cluster.clock.after(100, () => this.#restart(machine))
  }

  #strike(): void {
    const faults = [
      this.#crashOne,
      this.#crashOne,
      this.#crashAll,
      this.#close,
      this.#partition,
      this.#partition,
      this.#oneWay,
      this.#isolate,
      this.#slow,
      this.#reset,
      this.#stallDisk,
    ]
    faults[this.#random.below(faults.length)]!.call(this)
  }

  #crashOne(): void {
    this.#crash(this.#machine(), this.#crashKind())
  }

  #crashAll(): void {
    if (this.#random.below(2) === 0) return
    const how = this.#crashKind()
    for (const machine of this.#cluster.machines) this.#crash(machine, how)
  }

  #crash(machine: SimulatedNode, how: Crash): void {
    this.#note(`crash ${how}`, machine.address)
    machine.crash(how)
    this.#later(() => machine.start())
  }

  #close(): void {
    const machine = this.#machine()
    this.#note('close', machine.address)
    machine.close()
    this.#later(() => this.#restart(machine))
  }

  #partition(): void {
    const [a, b] = this.#pair()
    this.#note('partition', `${a} ${b}`)
    this.#block([
      [a, b],
      [b, a],
    ])
  }

  #oneWay(): void {
    const pair = this.#pair()
    this.#note('one-way', pair.join(' '))
    this.#block([pair])
  }

  #isolate(): void {
    const { address } = this.#machine()
    const others = this.#cluster.machines.map((machine) => machine.address).filter((other) => other !== address)
    const direction = this.#random.below(3)
    this.#note('isolate', `${address} ${direction}`)
    const inward = others.map((other) => [other, address] as const)
    const outward = others.map((other) => [address, other] as const)
    this.#block(direction === 0 ? inward : direction === 1 ? outward : [...inward, ...outward])
  }

  #slow(): void {
    const { network } = this.#cluster
    const [from, to] = this.#pair()
    const extraMs = 1 + this.#random.below(this.#random.below(2) === 0 ? 20 : 600)
    this.#note('slow', `${from} ${to} ${extraMs}`)
    network.slow(from, to, extraMs)
    this.#later(() => network.slow(from, to, 0))
  }

  #reset(): void {
    const [a, b] = this.#pair()
    this.#note('reset', `${a} ${b}`)
    this.#cluster.network.reset(a, b)
  }

  #stallDisk(): void {
    const machine = this.#machine()
    this.#note('stall', machine.address)
    machine.logDisk.stallSyncs()
    this.#later(() => machine.logDisk.releaseSyncs())
  }

  #block(ways: readonly (readonly [string, string])[]): void {
    const { network } = this.#cluster
    for (const [from, to] of ways) network.block(from, to)
    this.#later(() => {
      for (const [from, to] of ways) network.unblock(from, to)
    })
  }

  #later(action: () => void): void {
    this.#cluster.clock.after(50 + this.#random.below(this.#options.durationMsMax), () => {
      if (!this.#isStopped) action()
    })
  }

  #machine(): SimulatedNode {
    const { machines } = this.#cluster
    return machines[this.#random.below(machines.length)]!
  }

  #pair(): readonly [string, string] {
    const { machines } = this.#cluster
    const from = this.#random.below(machines.length)
    const to = (from + 1 + this.#random.below(machines.length - 1)) % machines.length
    return [machines[from]!.address, machines[to]!.address]
  }

  #crashKind(): Crash {
    return this.#random.below(2) === 0 ? 'killed' : 'power-lost'
  }

  #note(kind: string, where: string): void {
    this.counts.set(kind, (this.counts.get(kind) ?? 0) + 1)
    this.#cluster.note(`fault ${kind} ${where}`)
  }
}
