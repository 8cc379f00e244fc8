import { type LogFields, SeededRandom } from '@cordillera/base'
import type { CordilleraNode, FoundingConfig } from '@cordillera/node'
import { defaultReplicasLimits, defaultStoreLimits, type ReplicasLimits } from '@cordillera/replicas'
import { RaftChecker } from './raft-checker.js'
import { SimulatedNode } from './simulated-node.js'
import { Trace } from './trace.js'
import { type RunTurns, VirtualClock } from './virtual-clock.js'
import { type Delays, VirtualNetwork } from './virtual-network.js'

/**
 * Machines, the network between them and the time they live in: everything that happens follows from the seed.
 *
 * The first machine founds the cluster and the others join it, whenever they are started on empty disks: those with a place while
 * it is founded, late ones afterwards.
 */
export interface SimulatedClusterOptions {
  readonly seed: number
  readonly runTurns: RunTurns
  /** Places in the cluster; 3 by default. */
  readonly nodes?: number
  /** Machines beyond the places, which join the founded cluster when they are started; 0 by default. */
  readonly late?: number
  /** Initial ranges besides the system range; 4 by default. */
  readonly ranges?: number
  readonly limits?: Partial<ReplicasLimits>
  /** 32 KiB by default. */
  readonly segmentBytes?: number
  /** See `NodeConfig.scrubMs`; a day by default. */
  readonly scrubMs?: number
  readonly delays?: Delays
  /** Everything that any node logs, for looking into one run. */
  readonly onEvent?: (text: string) => void
}

/** Small enough that flushes and compactions happen in a short run, and that disks are found slow, or full, and well again. */
const smallLimits = {
  stateFlushBytes: 8 << 10,
  stateFlushMs: 3_000,
  store: { ...defaultStoreLimits, slowSyncMs: 100, holdMsMin: 1_000, diskReserveBytes: 64 << 10 },
} as const

/** What a node may log as an error when its disk is bad. */
const OF_A_BAD_DISK =
  /^error (?:log-failed|log-damaged|replica-silenced|store-stopped .*Raft log|process-failed .*(?:DISK_FAILED|LOG_DAMAGED|JOIN_REFUSED))/
/** What is said of a machine with an old image of its disks, and by it. */
const OF_AN_OLD_IMAGE =
  /^error (?:store-stopped|process-failed) .*(?:heard of a later state|log is older than the state)/

const DAY_MS = 24 * 3_600_000

export class SimulatedCluster {
  readonly clock: VirtualClock
  readonly network: VirtualNetwork
  readonly trace = new Trace()
  readonly checker = new RaftChecker()
  readonly machines: readonly SimulatedNode[]
  readonly #random: SeededRandom
  readonly #places: number
  readonly #onEvent: SimulatedClusterOptions['onEvent']
  /** Defects seen so far: what nodes failed with. */
  readonly failures: string[] = []

  constructor(options: SimulatedClusterOptions) {
    const { seed, nodes = 3, late = 0, ranges = 4, segmentBytes = 32 << 10 } = options
    const { scrubMs = DAY_MS } = options
    this.#random = new SeededRandom(seed)
    this.#onEvent = options.onEvent
    this.#places = nodes
    this.clock = new VirtualClock({ runTurns: options.runTurns })
    const delays = options.delays === undefined ? {} : { delays: options.delays }
    this.network = new VirtualNetwork({ clock: this.clock, random: this.fork(), trace: this.trace, ...delays })
    const addresses = Array.from({ length: nodes + late }, (_, i) => `machine-${i + 1}:7000`)
    const limits = { ...defaultReplicasLimits, ...smallLimits, ...options.limits }
    this.machines = addresses.map((address, i) => {
      const founding: FoundingConfig =
        i === 0
          ? { kind: 'init', nodes, ranges }
          : { kind: 'join', addresses: i < nodes ? [addresses[0]!] : addresses.slice(0, nodes) }
      const others = addresses.slice(0, nodes).filter((one) => one !== address)
      const refounding: FoundingConfig = i === 0 ? { kind: 'join', addresses: others } : founding
      const onEvent = (level: string, event: string, fields?: LogFields): void => {
        const text = `${level} ${event}${fields === undefined ? '' : ` ${JSON.stringify(fields)}`}`
        const isExpected =
          (machine.hasBadDisk && OF_A_BAD_DISK.test(text)) ||
          (machine.isOutdated && OF_AN_OLD_IMAGE.test(text)) ||
          (event === 'peer-outdated' && this.machines.some(({ isOutdated }) => isOutdated))
        if (level === 'error' && !isExpected) this.failures.push(`${this.clock.now()} ${address} ${text}`)
        // What an error says has stacks in it, and with them where the program lies.
        this.note(`${address} ${text}`, `${address} ${level === 'error' ? event : text}`)
      }
      const host = this.network.host(address)
      const random = this.fork()
      const machine: SimulatedNode = new SimulatedNode({
        clock: this.clock,
        host,
        random,
        founding,
        refounding,
        limits,
        segmentBytes,
        scrubMs,
        checker: this.checker,
        onEvent,
      })
      return machine
    })
  }

  /** Another source of random numbers, from the same seed. */
  fork(): SeededRandom {
    return new SeededRandom(this.#random.u32() * 2 ** 20 + this.#random.below(2 ** 20))
  }

  /** Something that belongs to the run's fingerprint, as `traced`. */
  note(text: string, traced = text): void {
    this.trace.noteText(`${this.clock.now()} ${traced}`)
    this.#onEvent?.(`${this.clock.now().toFixed(3)} ${text}`)
  }

  /** The nodes that are up. */
  nodes(): CordilleraNode[] {
    return this.machines.flatMap(({ node }) => node ?? [])
  }

  /** Late ones are started by themselves. */
  startAll(): void {
    for (const machine of this.machines.slice(0, this.#places)) machine.start()
  }

  /** Whether every machine that was ever started is up, and every two of them hear each other. */
  isWhole(): boolean {
    const machines = this.machines.filter(({ wasStarted }) => wasStarted)
    return machines.every(({ node }) => node?.metrics().peerLinksUp === machines.length - 1)
  }

  /**
   * Whether every machine that was ever started is up and its node sees a leader for every range; one whose disk went bad need not
   * be up.
   */
  isReady(): boolean {
    return this.machines.every(({ node, isRotten, wasStarted }) => node?.isReady() ?? (isRotten || !wasStarted))
  }

  /** Waits for what happens in virtual time. Throws what it rejects with; an Error after `timeoutMs`. */
  async settle<T>(promise: Promise<T>, timeoutMs: number): Promise<T> {
    let outcome: { readonly value: T } | { readonly error: unknown } | undefined
    promise.then(
      (value) => {
        outcome = { value }
      },
      (error) => {
        outcome = { error }
      },
    )
    if (!(await this.clock.runUntil(() => outcome !== undefined, timeoutMs))) {
      throw new Error(`nothing came of it within ${timeoutMs} virtual ms`)
    }
    if ('error' in outcome!) throw outcome.error
    return outcome!.value
  }
}
