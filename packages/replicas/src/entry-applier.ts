import { assert, assertNever, type LogIndex, type Term } from '@cordillera/base'
import { ENTRY_HEADER_BYTES, type Entry, EntryType, entryPayload, isChange } from '@cordillera/raft-core'
import {
  type AdminCommand,
  type ApplyView,
  abortMerge,
  applyEntry,
  type BlockResult,
  beginMerge,
  type Descriptor,
  decodeAdminCommand,
  decodeReplicaChanges,
  endMerge,
  freeze,
  isFrozen,
  isFrozenBy,
  type MergeCommand,
  merge,
  placeOn,
  raiseVersion,
  refuseMerge,
  type SplitCommand,
  splitDescriptor,
  thaw,
} from '@cordillera/ranges'
import type { NewReplica, ReplicaState, StateStore } from '@cordillera/state'
import type { RangeReply, RefusedReply } from '@cordillera/wire'
import { changeDescriptor, leaveDescriptor } from './membership.js'
import type { PendingBlock, Proposals } from './proposals.js'
import type { TimestampOrder } from './timestamp-order.js'

/**
 * What committed entries do to one replica's part of the state, in the order of the log, and the answers to those who proposed
 * them here.
 *
 * Whether an entry takes effect is decided from the replicated state alone. A range that is cut keeps its log; the right half
 * begins one of its own, behind the entry (1, 1) that nobody has: who has no right half gets it by a snapshot.
 */
export interface EntryApplierParts {
  readonly state: ReplicaState
  readonly store: StateStore
  readonly order: TimestampOrder
  readonly proposals: Proposals
  refused(reason: RefusedReply['reason']): RefusedReply
  /** The entry at the applied index has changed who is in the range. */
  onReplicasChanged(): void
  /** It has cut the range: `right` is the other half's replica on this store. */
  onSplit(right: ReplicaState): void
  /** It has merged the range with its right neighbour: `right` was that one's replica on this store. */
  onMerged(right: ReplicaState): void
  /** It was a command to the range, and has taken effect. */
  onAdminApplied(command: AdminCommand): void
}

/** Where the log of a right half begins. */
export const SPLIT_BASE: { readonly index: LogIndex; readonly term: Term } = { index: 1, term: 1 }

export class EntryApplier {
  readonly #parts: EntryApplierParts
  readonly #view: ApplyView

  constructor(parts: EntryApplierParts) {
    const { state, store } = parts
    this.#parts = parts
    this.#view = {
      get descriptor() {
        return state.descriptor
      },
      get memory() {
        return state.memory
      },
      versionOf: (key) => store.versionOf(key),
    }
  }

  apply(entry: Entry): void {
    if (entry.type === EntryType.command) this.#applyCommands(entry)
    else if (isChange(entry.type)) this.#applyChange(entry)
    else if (entry.type === EntryType.admin) this.#applyAdmin(entry, decodeAdminCommand(entryPayload(entry)))
    else {
      this.#parts.store.apply(this.#parts.state, entry.index, entry.term, [])
      this.#parts.proposals.takeApplied(entry.index, entry.term)
    }
  }

  #applyAdmin(entry: Entry, command: AdminCommand): void {
    const { proposals, onAdminApplied } = this.#parts
    const isEffective = this.#takeEffect(entry, command)
    const waiting = proposals.takeApplied(entry.index, entry.term)
    if (waiting !== undefined) this.#answer(waiting, [isEffective ? APPLIED : MISMATCH])
    if (isEffective) onAdminApplied(command)
  }

  /** False: it has none. */
  #takeEffect(entry: Entry, command: AdminCommand): boolean {
    if (command.kind === 'split') return this.#applySplit(entry, command)
    if (command.kind === 'merge') return this.#applyMerge(entry, command)
    const { state, store } = this.#parts
    const next = nextDescriptor(state.descriptor, command)
    store.apply(state, entry.index, entry.term, [], next)
    return next !== undefined
  }

  #applyCommands(entry: Entry): void {
    const { state, store, order, proposals } = this.#parts
    // Only a proposer needs results: a leader, or one that was.
    const wantResults = proposals.size > 0
    const applied = applyEntry(this.#view, entry.bytes, ENTRY_HEADER_BYTES, wantResults)
    const { timestamp, commandCount, writes, results } = applied
    order.onApplied(timestamp, timestamp + commandCount - 1)
    store.apply(state, entry.index, entry.term, writes)
    const waiting = proposals.takeApplied(entry.index, entry.term)
    if (waiting !== undefined) this.#answer(waiting, results)
  }

  #applyChange(entry: Entry): void {
    const { state, store, proposals, onReplicasChanged } = this.#parts
    const { descriptor } = state
    const next = isFrozen(descriptor)
      ? descriptor
      : entry.type === EntryType.leave
        ? leaveDescriptor(descriptor)
        : changeDescriptor(descriptor, decodeReplicaChanges(entryPayload(entry)))
    store.apply(state, entry.index, entry.term, [], next)
    proposals.takeApplied(entry.index, entry.term)
    if (next !== descriptor) onReplicasChanged()
  }

  #applySplit(entry: Entry, command: SplitCommand): boolean {
    const { state, store, onSplit } = this.#parts
    const halves = this.#decideSplit(command)
    if (halves === undefined) store.apply(state, entry.index, entry.term, [])
    else onSplit(store.applySplit(state, entry.index, entry.term, halves.left, halves.right))
    return halves !== undefined
  }

  #applyMerge(entry: Entry, { epoch, attempt, right }: MergeCommand): boolean {
    const { state, store, onMerged } = this.#parts
    const { descriptor, replicaId: own } = state
    const place = descriptor.replicas.find(({ replicaId }) => replicaId === own)
    const whole = place === undefined ? undefined : merge(descriptor, epoch, right, attempt)
    if (place === undefined || whole === undefined) {
      store.apply(state, entry.index, entry.term, [])
      return false
    }
    const going = store.replicas.get(placeOn(right, place.nodeId)!.replicaId)
    // Who proposed this has made sure of it, and it is durable.
    assert(
      going !== undefined && isFrozenBy(going.descriptor, descriptor.rangeId, attempt),
      'the right of a merge is frozen on every store',
    )
    store.applyMerge(state, entry.index, entry.term, whole, going)
    onMerged(going)
    return true
  }

  /** Undefined: it has no effect. */
  #decideSplit(command: SplitCommand): { readonly left: Descriptor; readonly right: NewReplica } | undefined {
    const { descriptor, replicaId: own } = this.#parts.state
    const halves = splitDescriptor(descriptor, command)
    if (typeof halves === 'string') return undefined
    const at = descriptor.replicas.findIndex(({ replicaId }) => replicaId === own)
    // One that was removed keeps its whole span until it is destroyed, with everything in it.
    if (at < 0) return undefined
    const { left, right: half } = halves
    return { left, right: { replicaId: command.replicaIds[at]!, descriptor: half, applied: SPLIT_BASE } }
  }

  #answer(waiting: readonly PendingBlock[], results: readonly BlockResult[]): void {
    assert(waiting.length === results.length, 'an entry has a result for every block')
    for (let i = 0; i < waiting.length; i++) {
      const result = results[i]!
      const reply: RangeReply =
        result.kind === 'applied'
          ? { kind: 'written', outcomes: result.outcomes }
          : this.#parts.refused('epoch-mismatch')
      waiting[i]!.reply(reply)
    }
  }
}

/** What commands make of a range of the same span; undefined: they have no effect. */
function nextDescriptor(
  descriptor: Descriptor,
  command: Exclude<AdminCommand, SplitCommand | MergeCommand>,
): Descriptor | undefined {
  switch (command.kind) {
    case 'begin':
      return beginMerge(descriptor, command.version, command.rightId, command.attempt)
    case 'freeze':
      return freeze(descriptor, command.version, command.leftId, command.attempt)
    case 'abort':
      return abortMerge(descriptor, command.attempt)
    case 'thaw':
      return thaw(descriptor, command.version, command.leftId, command.attempt)
    case 'end':
      return endMerge(descriptor, command.attempt)
    case 'refuse':
      return refuseMerge(descriptor, command.rightId, command.attempt)
    case 'recover':
      return raiseVersion(descriptor, command.version)
    default:
      return assertNever(command)
  }
}

const MISMATCH: BlockResult = { kind: 'epoch-mismatch' }
const APPLIED: BlockResult = { kind: 'applied', outcomes: [] }
