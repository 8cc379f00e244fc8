import { assert, type LogIndex, type Term } from '@cordillera/base'
import { type Descriptor, spanContains, type Write } from '@cordillera/ranges'
import type { Overlay } from './overlay.js'
import {
  keepLeftMemory,
  type LiveReplica,
  type NewReplica,
  type ReplicaCatalog,
  splitReplica,
  uniteMemories,
} from './replica-catalog.js'

/**
 * What entries do to the replicas of a store, in memory, and which of them the next flush must write: those that have applied
 * something since the last cut, come to be by a split, or gone by a merge.
 */
export class AppliedCut {
  readonly #catalog: ReplicaCatalog
  readonly #overlay: Overlay
  #advanced: LiveReplica[] = []
  #absorbed: LiveReplica[] = []

  constructor(catalog: ReplicaCatalog, overlay: Overlay) {
    this.#catalog = catalog
    this.#overlay = overlay
  }

  get isEmpty(): boolean {
    return this.#advanced.length === 0
  }

  /** Replicas to be written as they are now, and those whose tombstones are due. */
  take(): { readonly advanced: readonly LiveReplica[]; readonly absorbed: readonly LiveReplica[] } {
    const absorbed = this.#absorbed
    const advanced = this.#advanced.filter((replica) => !absorbed.includes(replica))
    for (const replica of this.#advanced) replica.advanced = false
    this.#advanced = []
    this.#absorbed = []
    return { advanced, absorbed }
  }

  apply(live: LiveReplica, index: LogIndex, term: Term, writes: readonly Write[], descriptor: Descriptor): void {
    assertNext(live, index, term)
    if (writes.length > 0) {
      for (const { key } of writes) assert(spanContains(live.descriptor, key), 'a replica writes within its span')
      this.#overlay.write(live.descriptor, writes, this.#catalog.safePoint)
    }
    const { start, end } = live.descriptor
    assert(descriptor.start === start && descriptor.end === end, 'an entry leaves the span as it is')
    this.#advance(live, index, term, descriptor)
  }

  split(live: LiveReplica, index: LogIndex, term: Term, left: Descriptor, right: NewReplica): LiveReplica {
    const { start, end } = live.descriptor
    const isWhole = left.start === start && left.end === right.descriptor.start && right.descriptor.end === end
    assert(isWhole && left.rangeId === live.descriptor.rangeId, 'the halves of a range are the range')
    const { replicaId, descriptor, applied } = right
    assert(!this.#catalog.knows(replicaId), 'a replica id is never used again')
    assertNext(live, index, term)
    this.#advance(live, index, term, left)
    const indexes = { appliedIndex: applied.index, appliedTerm: applied.term }
    const created = splitReplica({ replicaId, descriptor, ...indexes }, live.memory)
    keepLeftMemory(live)
    this.#catalog.live.set(replicaId, created)
    this.#noteAdvanced(created)
    return created
  }

  merge(live: LiveReplica, index: LogIndex, term: Term, whole: Descriptor, going: LiveReplica): void {
    const { start, end, rangeId } = live.descriptor
    const isWhole = whole.start === start && end === going.descriptor.start && whole.end === going.descriptor.end
    assert(isWhole && whole.rangeId === rangeId, 'two neighbours are the whole')
    assertNext(live, index, term)
    assert(!going.sealed, 'a replica that is being removed merges with nothing')
    going.sealed = true
    this.#catalog.live.delete(going.replicaId)
    this.#absorbed.push(going)
    uniteMemories(live, going)
    this.#advance(live, index, term, whole)
  }

  #advance(live: LiveReplica, index: LogIndex, term: Term, descriptor: Descriptor): void {
    const { version, confVersion } = live.descriptor.epoch
    assert(descriptor.epoch.version >= version && descriptor.epoch.confVersion >= confVersion, 'epochs do not go back')
    live.descriptor = descriptor
    live.appliedIndex = index
    live.appliedTerm = term
    this.#noteAdvanced(live)
  }

  #noteAdvanced(live: LiveReplica): void {
    if (live.advanced) return
    live.advanced = true
    this.#advanced.push(live)
  }
}

function assertNext(live: LiveReplica, index: LogIndex, term: Term): void {
  assert(!live.sealed, 'a replica that is being removed applies nothing')
  assert(index === live.appliedIndex + 1, 'entries are applied one behind the other')
  assert(term >= live.appliedTerm, 'terms do not go back in a log')
}
