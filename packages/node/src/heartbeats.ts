import { type Clock, CordilleraError, type Logger, type NodeId, type RangeId } from '@cordillera/base'
import { SYSTEM_RANGE_ID } from '@cordillera/ranges'
import type { Replica, Replicas } from '@cordillera/replicas'
import type { StateStore } from '@cordillera/state'
import {
  decodeHeartbeatAnswer,
  encodeHeartbeat,
  type Heartbeat,
  type HeartbeatAnswer,
  type RangeBeat,
} from '@cordillera/system'
import type { PeerLinks } from '@cordillera/wire'
import type { LoadMeter } from './load-meter.js'

/**
 * Tells the placement driver, wherever it is, about once a second what has changed of the ranges that are led here; everything when
 * it is another driver, when that one asks for it, and now and then. What it answers is what this node is to be.
 */
export interface HeartbeatsParts {
  readonly nodeId: NodeId
  readonly replicas: Replicas
  readonly state: StateStore
  readonly load: LoadMeter
  readonly links: Pick<PeerLinks, 'ask' | 'isUp'>
  readonly clock: Clock
  readonly logger: Logger
  /** Where the system range may be led, the believed leader first. */
  nodesOf(rangeId: RangeId): readonly NodeId[]
  /** As the driver on this node. Throws `UNAVAILABLE` where there is none. */
  here(heartbeat: Heartbeat): HeartbeatAnswer
  /** The driver has answered. */
  onAnswer(answer: HeartbeatAnswer): void
}

interface Told {
  readonly at: string
  readonly bytes: number
  readonly load: number
}

const ASK_TIMEOUT_MS = 2_000
const FULL_BEATS = 60
/** A change of less than this part of a figure is told with the next full beat. */
const PART = 0.1
/** A range that nothing was applied to is measured again so late: what it takes on disk changes with compactions alone. */
const MEASURE_MS = 60_000
const LOAD_MIN = 5
const BYTES_MIN = 256 << 10
const LAG_ENTRIES_MAX = 1_024

interface Measured {
  readonly version: number
  readonly appliedIndex: number
  readonly atMs: number
  readonly bytes: number
}

export class Heartbeats {
  readonly #parts: HeartbeatsParts
  readonly #told = new Map<RangeId, Told>()
  /** Since when a range has been of its version. */
  readonly #since = new Map<RangeId, { readonly version: number; readonly atMs: number }>()
  readonly #measured = new Map<RangeId, Measured>()
  #driver: NodeId = 0
  #sequence = 0
  #beatsToFull = 0
  #isUnderWay = false

  constructor(parts: HeartbeatsParts) {
    this.#parts = parts
  }

  /** To be called about once a second; nothing happens while a beat is under way. */
  onSecond(): void {
    if (this.#isUnderWay) return
    this.#isUnderWay = true
    this.#beat()
      .catch((error) => {
        if (!(error instanceof CordilleraError)) this.#parts.logger.error('heartbeat-failed', { error: String(error) })
        this.#driver = 0
      })
      .finally(() => {
        this.#isUnderWay = false
      })
  }

  async #beat(): Promise<void> {
    const { nodeId: self, links, nodesOf, here, onAnswer } = this.#parts
    const driver = nodesOf(SYSTEM_RANGE_ID).find((nodeId) => nodeId === self || links.isUp(nodeId)) ?? 0
    if (driver === 0) return
    if (driver !== this.#driver || this.#beatsToFull-- <= 0) this.#startAnew(driver)
    const heartbeat = { sequence: ++this.#sequence, isFull: this.#told.size === 0, ranges: await this.#changed() }
    const answer =
      driver === self
        ? here(heartbeat)
        : decodeHeartbeatAnswer(await links.ask(driver, 'heartbeat', encodeHeartbeat(heartbeat), ASK_TIMEOUT_MS))
    if (answer.resync) this.#driver = 0
    onAnswer(answer)
  }

  #startAnew(driver: NodeId): void {
    this.#driver = driver
    this.#beatsToFull = FULL_BEATS
    this.#told.clear()
  }

  async #changed(): Promise<RangeBeat[]> {
    const { replicas, load } = this.#parts
    const beats: RangeBeat[] = []
    const led = new Set<RangeId>()
    for (const replica of [...replicas.replicas()]) {
      if (replica.isClosed || !replica.isUsable) continue
      const { rangeId, epoch } = replica.descriptor
      led.add(rangeId)
      this.#noteVersion(rangeId, epoch.version)
      const { readsPerSec, writesPerSec } = load.steadyOf(rangeId)
      const bytes = await this.#bytesOf(replica)
      const split = load.splitOf(replica)
      const at = `${replica.term}:${epoch.version}:${epoch.confVersion}:${this.#behind(replica)}:${split?.kind}:${split?.key}`
      const now = { at, bytes, load: readsPerSec + writesPerSec }
      if (!isNews(this.#told.get(rangeId), now)) continue
      this.#told.set(rangeId, now)
      beats.push({ ...this.#describe(replica, bytes), ...(split && { loadSplit: split }) })
    }
    for (const known of [this.#told, this.#since, this.#measured]) {
      for (const rangeId of known.keys()) if (!led.has(rangeId)) known.delete(rangeId)
    }
    return beats
  }

  /** Asking the engine costs more than all the rest of a beat: ranges at rest are not asked for. */
  async #bytesOf({ descriptor, core: { appliedIndex } }: Replica): Promise<number> {
    const { state, clock } = this.#parts
    const { rangeId, epoch } = descriptor
    const known = this.#measured.get(rangeId)
    const isSame = known?.version === epoch.version && known.appliedIndex === appliedIndex
    if (isSame && clock.now() - known.atMs < MEASURE_MS) return known.bytes
    const bytes = await state.approximateBytes(descriptor)
    this.#measured.set(rangeId, { version: epoch.version, appliedIndex, atMs: clock.now(), bytes })
    return bytes
  }

  #describe(replica: Replica, bytes: number): RangeBeat {
    const { clock, load } = this.#parts
    const { descriptor, term } = replica
    const { rangeId } = descriptor
    const { readsPerSec, writesPerSec } = load.steadyOf(rangeId)
    const unchangedMs = Math.max(0, clock.now() - this.#since.get(rangeId)!.atMs)
    const behind = this.#behind(replica)
    return {
      descriptor,
      term,
      bytes,
      readsPerSec,
      writesPerSec,
      loadMaxPerSec: load.maxOf(rangeId),
      unchangedMs,
      behind,
    }
  }

  #noteVersion(rangeId: RangeId, version: number): void {
    if (this.#since.get(rangeId)?.version === version) return
    this.#since.set(rangeId, { version, atMs: this.#parts.clock.now() })
  }

  #behind({ core, descriptor, replicaId }: Replica): NodeId[] {
    return descriptor.replicas.flatMap((place) => {
      if (place.replicaId === replicaId) return []
      const progress = core.progressOf(place.replicaId)
      return progress === undefined || core.lastIndex - progress.matchIndex > LAG_ENTRIES_MAX ? [place.nodeId] : []
    })
  }
}

function isNews(told: Told | undefined, now: Told): boolean {
  if (told === undefined || told.at !== now.at) return true
  const isOther = (before: number, after: number, min: number): boolean =>
    Math.abs(after - before) > Math.max(min, PART * Math.max(before, after))
  return isOther(told.bytes, now.bytes, BYTES_MIN) || isOther(told.load, now.load, LOAD_MIN)
}
