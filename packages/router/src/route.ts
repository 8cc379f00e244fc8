import { assert, type NodeId, type RangeId } from '@cordillera/base'
import { type Descriptor, WriteBlockBuilder } from '@cordillera/ranges'
import type { RouterLimits } from './limits.js'
import {
  type AnyBatch,
  type Numbering,
  OutcomeBatch,
  ReadBatch,
  ScanBatch,
  TimestampsBatch,
  WriteBatch,
} from './pending-batch.js'
import { RouteLeader, type RouteLeaderContext } from './route-leader.js'

export interface RouteContext extends RouteLeaderContext {
  readonly numbering: Numbering
}

/**
 * Everything that waits for one range, and whom it waits for.
 *
 * Batches wait by kind, oldest first; only the youngest write and read batch are open for more operations. What comes
 * back refused takes its old place in the queue, so that commands keep their order. While the leader is settled, a
 * bounded number of requests of each kind is under way and the rest gathers; while it is not, one request is.
 */
export class Route {
  readonly rangeId: RangeId
  readonly leader: RouteLeader
  /** Set while the route stands in the router's list of routes to look after at the end of the turn. */
  isAwake = false
  /** False once the range is gone; its batches on the way still come back here. */
  isCurrent = true
  /** What was heard last instead of an answer, for a person. */
  lastTrouble = ''
  /** Until then no value is sent to the range, whose disks are full; 0: it is not known to be. */
  fullUntilMs = 0
  #descriptor: Descriptor | undefined
  #builder: WriteBlockBuilder
  readonly #limits: RouterLimits
  readonly #numbering: Numbering
  /** This node. */
  readonly self: NodeId
  readonly #waiting = {
    timestamps: [] as TimestampsBatch[],
    write: [] as WriteBatch[],
    read: [] as ReadBatch[],
    scan: [] as ScanBatch[],
    outcome: [] as OutcomeBatch[],
  }
  #openWrites: WriteBatch | undefined
  #openReads: ReadBatch | undefined
  readonly #inFlight = { timestamps: 0, write: 0, read: 0, scan: 0, outcome: 0 }
  #inFlightTenure = 0

  /** Without a descriptor: the place where operations wait whose range is not known. */
  constructor(descriptor: Descriptor | undefined, context: RouteContext, onResume: (route: Route) => void) {
    this.rangeId = descriptor?.rangeId ?? 0
    this.leader = new RouteLeader(context, () => onResume(this))
    this.#descriptor = descriptor
    this.#numbering = context.numbering
    this.#builder = this.#newBuilder()
    this.#limits = context.limits
    this.self = context.self
  }

  isFull(nowMs: number): boolean {
    if (nowMs < this.fullUntilMs) return true
    this.fullUntilMs = 0
    return false
  }

  get descriptor(): Descriptor | undefined {
    return this.#descriptor
  }

  get epochVersion(): number {
    return this.#descriptor?.epoch.version ?? 0
  }

  get isEmpty(): boolean {
    const { timestamps, write, read, scan, outcome } = this.#waiting
    return timestamps.length + write.length + read.length + scan.length + outcome.length === 0
  }

  /** Returns the batches that waited for an earlier epoch: they are to be routed anew. */
  setDescriptor(descriptor: Descriptor): AnyBatch[] {
    const isSameEpoch = descriptor.epoch.version === this.epochVersion
    const stale = isSameEpoch ? [] : this.takeWaiting()
    this.#descriptor = descriptor
    if (!isSameEpoch) this.#builder = this.#newBuilder()
    return stale
  }

  /** Whether a batch of this route must be routed anew rather than sent. */
  isStale(batch: AnyBatch): boolean {
    return !this.isCurrent || batch.epochVersion !== this.epochVersion
  }

  /** The open batch with room for a write of so many bytes, or undefined: open one. */
  tryOpenWrites(bytes: number): WriteBatch | undefined {
    return this.#hasRoom(this.#openWrites, bytes) ? this.#openWrites : undefined
  }

  tryOpenReads(bytes: number): ReadBatch | undefined {
    return this.#hasRoom(this.#openReads, bytes) ? this.#openReads : undefined
  }

  openWrites(sequence: number): WriteBatch {
    this.#sealWrites()
    const batch = new WriteBatch(this, this.epochVersion, sequence, {
      builder: this.#builder,
      numbering: this.#numbering,
    })
    this.#waiting.write.push(batch)
    this.#openWrites = batch
    return batch
  }

  openReads(sequence: number): ReadBatch {
    const batch = new ReadBatch(this, this.epochVersion, sequence)
    this.#waiting.read.push(batch)
    this.#openReads = batch
    return batch
  }

  /** Writes that may have been proposed already keep to themselves: close the batch when they are all in it. */
  closeWrites(): void {
    this.#sealWrites()
  }

  openTimestamps(sequence: number): TimestampsBatch {
    const batch = new TimestampsBatch(this, this.epochVersion, sequence)
    this.#waiting.timestamps.push(batch)
    return batch
  }

  openOutcome(sequence: number): OutcomeBatch {
    const batch = new OutcomeBatch(this, this.epochVersion, sequence)
    this.#waiting.outcome.push(batch)
    return batch
  }

  openScan(sequence: number): ScanBatch {
    const batch = new ScanBatch(this, this.epochVersion, sequence)
    this.#waiting.scan.push(batch)
    return batch
  }

  /** Takes the next batch that may be sent now, given that the leader's target is known. */
  tryTakeNext(): AnyBatch | undefined {
    const { timestamps, write, read, scan, outcome } = this.#waiting
    this.#refreshInFlight()
    return (
      this.#tryTake(timestamps) ??
      this.#tryTake(outcome) ??
      this.#tryTake(write) ??
      this.#tryTake(read) ??
      this.#tryTake(scan)
    )
  }

  #tryTake(queue: readonly AnyBatch[]): AnyBatch | undefined {
    const next = queue[0]
    if (next === undefined || this.#inFlight[next.kind] >= this.#limits.requestsInFlightMax) return undefined
    return this.#take(next)
  }

  /** Takes everything that waits. */
  takeWaiting(): AnyBatch[] {
    const { timestamps, write, read, scan, outcome } = this.#waiting
    this.#sealWrites()
    this.#openReads = undefined
    const all = [
      ...timestamps.splice(0),
      ...write.splice(0),
      ...read.splice(0),
      ...scan.splice(0),
      ...outcome.splice(0),
    ]
    return all.sort((a, b) => a.sequence - b.sequence)
  }

  /** A batch that was taken, and not sent after all or refused, takes its place again. */
  putBack(batch: AnyBatch): void {
    assert(!this.isStale(batch), 'a batch waits only for the epoch it was made for')
    batch.state = 'waiting'
    const queue = this.#waiting[batch.kind] as AnyBatch[]
    let at = queue.length
    while (at > 0 && queue[at - 1]!.sequence > batch.sequence) at--
    queue.splice(at, 0, batch)
  }

  /** Removes a batch that waits and has nothing left to do. */
  remove(batch: AnyBatch): void {
    const queue = this.#waiting[batch.kind] as AnyBatch[]
    const at = queue.indexOf(batch)
    assert(at >= 0, 'a batch that waits is in its queue')
    queue.splice(at, 1)
    this.#closeIfOpen(batch)
  }

  onSending(batch: AnyBatch): void {
    this.leader.onSending(batch.node)
    this.#refreshInFlight()
    this.#inFlight[batch.kind]++
    batch.tenure = this.leader.tenure
  }

  onEnded(batch: AnyBatch): void {
    this.#refreshInFlight()
    if (batch.tenure === this.#inFlightTenure) this.#inFlight[batch.kind]--
  }

  #take(batch: AnyBatch): AnyBatch {
    this.#waiting[batch.kind].shift()
    this.#closeIfOpen(batch)
    return batch
  }

  #closeIfOpen(batch: AnyBatch): void {
    if (batch === this.#openWrites) this.#sealWrites()
    else if (batch === this.#openReads) this.#openReads = undefined
  }

  /** Ends the open block, so that the builder is free. A builder that grew large is not kept. */
  #sealWrites(): void {
    if (this.#openWrites === undefined) return
    const block = this.#openWrites.seal()
    this.#openWrites = undefined
    if (block.length > KEPT_BUILDER_BYTES_MAX) this.#builder = this.#newBuilder()
  }

  #newBuilder(): WriteBlockBuilder {
    return new WriteBlockBuilder(this.epochVersion, this.#numbering.session)
  }

  /** Requests of earlier tenures do not count: nobody waits behind a leader that is no longer believed in. */
  #refreshInFlight(): void {
    if (this.#inFlightTenure === this.leader.tenure) return
    this.#inFlightTenure = this.leader.tenure
    this.#inFlight.timestamps = 0
    this.#inFlight.write = 0
    this.#inFlight.read = 0
    this.#inFlight.scan = 0
    this.#inFlight.outcome = 0
  }

  #hasRoom(batch: AnyBatch | undefined, bytes: number): boolean {
    if (batch === undefined) return false
    const { requestOperationsMax, requestBytesMax } = this.#limits
    return batch.count < requestOperationsMax && batch.bytes + bytes <= requestBytesMax
  }
}

const KEPT_BUILDER_BYTES_MAX = 64 * 1024
