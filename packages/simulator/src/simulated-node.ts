import { CordilleraError, type LogFields, type Logger, type Random, SeededRandom } from '@cordillera/base'
import { CordilleraNode, type FoundingConfig } from '@cordillera/node'
import { MemoryDisk, type WrittenAt } from '@cordillera/raft-log'
import type { Replica, ReplicaObserver, ReplicasLimits } from '@cordillera/replicas'
import { MemoryEngine } from '@cordillera/state'
import { MachineClock } from './machine-clock.js'
import type { RaftChecker } from './raft-checker.js'
import { ProcessClock, type VirtualClock } from './virtual-clock.js'
import type { VirtualHost } from './virtual-network.js'
import { VirtualTransport } from './virtual-transport.js'

/**
 * One machine with its disks, and the node that runs on it, or does not: the production node on virtual ports.
 *
 * `killed`: the process dies, and what it gave to the system survives. `power-lost`: of what was not synced chance
 * keeps what it likes, and the other machines hear nothing. Either way nothing of the old life acts any more.
 */
export type Crash = 'killed' | 'power-lost'

export type NodeStatus =
  | { readonly kind: 'down' }
  | { readonly kind: 'starting' }
  | { readonly kind: 'up' | 'closing'; readonly node: CordilleraNode }
  /** It refused to start, or stopped itself. */
  | { readonly kind: 'failed'; readonly error: unknown }

export interface SimulatedNodeOptions {
  readonly clock: VirtualClock
  readonly host: VirtualHost
  readonly random: Random
  readonly founding: FoundingConfig
  /** How it is started once its disks were replaced: whoever does that founds no second cluster. */
  readonly refounding: FoundingConfig
  readonly limits: ReplicasLimits
  readonly segmentBytes: number
  readonly scrubMs: number
  readonly checker: RaftChecker
  /** Every event that the node logs. */
  readonly onEvent: (level: string, event: string, fields?: LogFields) => void
}

/** Where a log wrote. */

/** The disks of a machine, as they were at some time. */
export interface DiskImage {
  readonly identity: MemoryDisk
  readonly log: MemoryDisk
  readonly engine: MemoryEngine
}

const LOG_CACHE_BYTES_MAX = 16 << 10
const ENGINE_WRITE_MS = 3
const DRAIN_TIMEOUT_MS = 2_000

export class SimulatedNode {
  readonly address: string
  identityDisk: MemoryDisk
  logDisk: MemoryDisk
  readonly clock: MachineClock
  /** What every sync takes longer. */
  syncExtraMs = 0
  /** Its disk was made to fail, or lose something, so that it may stop itself or some of its replicas. */
  hasBadDisk = false
  /** Something of its log is not what was written, or everything is gone. */
  isRotten = false
  isWiped = false
  /** Its disks were put back as they were some time ago: it may be started once, and is to be found out. */
  isOutdated = false
  wasStarted = false
  readonly #options: SimulatedNodeOptions
  readonly #newDisk: () => MemoryDisk
  #engine: MemoryEngine
  #process: ProcessClock
  #status: NodeStatus = { kind: 'down' }
  #replicas: Replica[] = []

  constructor(options: SimulatedNodeOptions) {
    const { clock, host, random } = options
    this.#options = options
    this.address = host.address
    this.clock = new MachineClock(clock)
    const latencyMs = (operation: string): number => {
      if (operation !== 'sync' && operation !== 'syncDirectory') return random.below(100) / 1_000
      return 0.5 + random.below(3_000) / 1_000 + (random.below(300) === 0 ? 100 : 0) + this.syncExtraMs
    }
    this.#newDisk = () => new MemoryDisk({ clock: this.clock, latencyMs })
    this.identityDisk = this.#newDisk()
    this.logDisk = this.#newDisk()
    this.#engine = this.#newEngine()
    this.#process = new ProcessClock(this.clock)
  }

  get status(): NodeStatus {
    return this.#status
  }

  /** The running node; undefined while it is not up. */
  get node(): CordilleraNode | undefined {
    return this.#status.kind === 'up' ? this.#status.node : undefined
  }

  /** The replicas that take part in this life; once the node has ended, none does. */
  get replicas(): readonly Replica[] {
    return this.#replicas.filter(({ isClosed }) => !isClosed)
  }

  /** Whether this node still answers: until it was closed or died. */
  runs(node: CordilleraNode): boolean {
    return 'node' in this.#status && this.#status.node === node
  }

  /** The state database, which may be opened while the node is down. */
  get engine(): MemoryEngine {
    return this.#engine
  }

  /** Starts the process; it is up once it has an identity, which may be never. */
  start(founding: FoundingConfig = this.#founding): void {
    if (this.#status.kind !== 'down' && this.#status.kind !== 'failed') return
    this.wasStarted = true
    if (!this.isOutdated) this.#launch(founding)
  }

  #launch(founding: FoundingConfig): void {
    const { host, limits, random, segmentBytes, scrubMs, checker } = this.#options
    host.powerOn()
    const process = new ProcessClock(this.clock)
    this.#process = process
    this.#status = { kind: 'starting' }
    const engine = this.#engine
    CordilleraNode.start(
      {
        peerAddress: this.address,
        httpAddress: '',
        founding,
        locality: '',
        replicas: limits,
        scrubMs,
        log: { segmentBytes, cacheBytesMax: LOG_CACHE_BYTES_MAX },
        version: 'simulated',
      },
      {
        clock: process,
        random: new SeededRandom(random.u32()),
        identityDisk: this.identityDisk,
        logDisk: this.logDisk,
        openEngine: () => Promise.resolve(engine),
        transport: new VirtualTransport({ host, clock: process }),
        logger: this.#logger(process),
        // What an old image has forgotten is not held against the replicas: they are not to be heard at all.
        ...(this.isOutdated ? {} : { observer: { replicas: this.#observed(checker) } }),
      },
    ).then(
      (node) => this.#onStarted(process, node),
      (error) => this.#onFailed(process, error),
    )
  }

  crash(how: Crash): void {
    const { host, random } = this.#options
    if (this.#status.kind === 'down') return
    this.#process.kill()
    this.resume()
    if (how === 'killed') host.killProcess()
    else host.powerOff()
    const keep = how === 'killed' ? 'all' : random
    this.identityDisk.crash({ keep })
    this.logDisk.crash({ keep })
    this.#engine = how === 'killed' ? this.#engine.kill() : this.#engine.crash()
    this.#status = { kind: 'down' }
  }

  /** Drains and closes the node as a signal would; it is down then. */
  close(): void {
    const { node } = this
    if (node === undefined) return
    const process = this.#process
    this.#status = { kind: 'closing', node }
    const closing = async (): Promise<void> => {
      await node.drain(DRAIN_TIMEOUT_MS)
      await node.close()
      if (!process.isAlive) return
      process.kill()
      this.#options.host.killProcess()
      await this.#engine.close()
      this.#engine = this.#engine.reopen()
      this.#status = { kind: 'down' }
    }
    closing().catch((error) => this.#onFailed(process, error))
  }

  /** Everything on the machine stands still, and what is sent to it waits. */
  pause(): void {
    this.clock.pause()
    this.#options.host.pause()
  }

  resume(): void {
    this.clock.resume()
    this.#options.host.resume()
  }

  stallSyncs(): void {
    this.logDisk.stallSyncs()
  }

  releaseSyncs(): void {
    this.clock.defer(() => this.logDisk.releaseSyncs())
  }

  /** The next write to the log, or sync of it, fails. */
  failDisk(operation: 'write' | 'sync'): void {
    this.hasBadDisk = true
    this.logDisk.fail({ operation, code: 'EIO' })
  }

  /** There is room for so many more bytes of the log. */
  fillDisk(bytesLeft: number): void {
    this.hasBadDisk = true
    this.logDisk.capacityBytes = this.logDisk.usedBytes + bytesLeft
  }

  emptyDisk(): void {
    this.logDisk.capacityBytes = Number.POSITIVE_INFINITY
  }

  /**
   * Flips a bit of the log, or cuts a segment off that is no more written to. Spares the batch that was written last,
   * which could not be told from one that tore. Returns where; undefined when there is nothing else.
   */
  rot(random: Random): string | undefined {
    const { logDisk } = this
    const { lastWrittenThrough: last } = logDisk
    const names = logDisk.names()
    const name = names[random.below(Math.max(1, names.length))]
    const length = name === undefined ? 0 : name === last?.name ? last.position : logDisk.contents(name).length
    if (name === undefined || length === 0) return undefined
    const offset = random.below(length)
    this.hasBadDisk = true
    this.isRotten = true
    if (name !== last?.name && random.below(3) === 0) {
      logDisk.truncateFile(name, offset)
      return `${name} cut at ${offset}`
    }
    logDisk.flipBit(name, offset, random.below(8))
    return `${name} ${offset}`
  }

  /** The process dies, and its disks are replaced by empty ones. */
  wipe(): void {
    this.crash('killed')
    this.hasBadDisk = true
    this.isRotten = true
    this.isWiped = true
    this.identityDisk = this.#newDisk()
    this.logDisk = this.#newDisk()
    this.#engine = this.#newEngine()
  }

  /** What is on its disks now, to be put back later by {@link restore}. */
  image(): DiskImage {
    const { clock } = this
    return { identity: this.identityDisk.clone(clock), log: this.logDisk.clone(clock), engine: this.#engine.clone() }
  }

  /** The process dies, the disks are as they were, and it starts once more: it must be found out, and stop. */
  restore({ identity, log, engine }: DiskImage): void {
    this.crash('killed')
    this.identityDisk = identity
    this.logDisk = log
    this.#engine = engine
    this.#launchOutdated()
  }

  /**
   * As {@link restore}, but of the disks only the log lost its end, from `from` on, which was synced. False, with nothing
   * done, when the log has moved on from that file.
   */
  tryLoseEnd(from: WrittenAt | undefined): boolean {
    const last = this.logDisk.lastWrittenThrough
    if (from === undefined || last?.name !== from.name || last.begun !== from.begun) return false
    this.crash('killed')
    this.logDisk.truncateFile(from.name, from.position)
    this.#launchOutdated()
    return true
  }

  #launchOutdated(): void {
    this.hasBadDisk = true
    this.isRotten = true
    this.isOutdated = true
    this.#launch(this.#founding)
  }

  get #founding(): FoundingConfig {
    return this.isWiped ? this.#options.refounding : this.#options.founding
  }

  #newEngine(): MemoryEngine {
    return new MemoryEngine({ clock: this.clock, writeDelayMs: ENGINE_WRITE_MS })
  }

  /** Undoes everything but rot. */
  heal(): void {
    this.resume()
    this.clock.drift(1)
    this.clock.jump(0)
    this.syncExtraMs = 0
    this.emptyDisk()
    this.logDisk.clearFaults()
    this.releaseSyncs()
  }

  /** The ranges of this store are looked at behind every step that may have changed them, when the next one begins. */
  #observed(checker: RaftChecker): ReplicaObserver {
    const replicas: Replica[] = []
    this.#replicas = replicas
    let isChanged = false
    return {
      onOpened: (replica) => {
        replicas.push(replica)
        isChanged = true
        checker.onOpened(replica)
      },
      onReady: (replica, ready) => {
        if (isChanged)
          checker.checkSpans(
            this.replicas.map(({ descriptor }) => descriptor),
            false,
          )
        isChanged = false
        checker.onReady(replica, ready)
      },
      onSynced: (replica, ready) => checker.onSynced(replica, ready),
      onConfiguration: (replica) => checker.onConfiguration(replica),
      onRestored: (replica) => {
        isChanged = true
        checker.onRestored(replica)
      },
      onSplit: (replica, right) => {
        isChanged = true
        checker.onSplit(replica, right)
      },
      onMerged: (replica, right) => {
        isChanged = true
        checker.onMerged(replica, right)
      },
    }
  }

  #onStarted(process: ProcessClock, node: CordilleraNode): void {
    if (!process.isAlive) return
    this.#status = { kind: 'up', node }
    void node.failed.then((error) => this.#onFailed(process, error))
  }

  /** The process ends by itself. Its disks keep what it wrote. */
  #onFailed(process: ProcessClock, error: unknown): void {
    if (!process.isAlive) return
    this.#options.onEvent('error', 'process-failed', { error: describe(error) })
    this.crash('killed')
    this.#status = { kind: 'failed', error }
  }

  #logger(process: ProcessClock): Logger {
    const log = (level: string) => (event: string, fields?: LogFields) => {
      if (process.isAlive) this.#options.onEvent(level, event, fields)
    }
    return { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') }
  }
}

function describe(error: unknown): string {
  if (error instanceof CordilleraError) return `${error.code}: ${error.message}`
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}
