import { assert, type LogIndex, type Term } from '@cordillera/base'
import { ENTRY_HEADER_BYTES, type Entry, EntryType, entryPayload, isChange } from '@cordillera/raft-core'
import {
  type ApplyView,
  applyEntry,
  type BlockResult,
  type Descriptor,
  decodeAdminCommand,
  decodeReplicaChanges,
  type SplitCommand,
  splitDescriptor,
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
    else if (entry.type === EntryType.admin) this.#applySplit(entry, decodeAdminCommand(entryPayload(entry)))
    else {
      this.#parts.store.apply(this.#parts.state, entry.index, entry.term, [])
      this.#parts.proposals.takeApplied(entry.index, entry.term)
    }
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
    const next =
      entry.type === EntryType.leave
        ? leaveDescriptor(descriptor)
        : changeDescriptor(descriptor, decodeReplicaChanges(entryPayload(entry)))
    store.apply(state, entry.index, entry.term, [], next)
    proposals.takeApplied(entry.index, entry.term)
    if (next !== descriptor) onReplicasChanged()
  }

  #applySplit(entry: Entry, command: SplitCommand): void {
    const { state, store, proposals, onSplit } = this.#parts
    const halves = this.#decideSplit(command)
    if (halves === undefined) store.apply(state, entry.index, entry.term, [])
    else onSplit(store.applySplit(state, entry.index, entry.term, halves.left, halves.right))
    const result: BlockResult = halves === undefined ? MISMATCH : APPLIED
    const waiting = proposals.takeApplied(entry.index, entry.term)
    if (waiting !== undefined) this.#answer(waiting, [result])
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

const MISMATCH: BlockResult = { kind: 'epoch-mismatch' }
const APPLIED: BlockResult = { kind: 'applied', outcomes: [] }
