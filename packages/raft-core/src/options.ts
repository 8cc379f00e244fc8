import { assert, type LogIndex, NONE, type Random, type ReplicaId } from '@cordillera/base'
import type { Configuration } from './configuration.js'
import { checkLease, type LeaseOptions } from './lease.js'
import type { LogReader } from './log-reader.js'
import type { HardState } from './ready.js'

/** Everything a group is started from, and its limits. Groups of one process may share the parts that are equal. */
export interface RaftOptions {
  readonly replicaId: ReplicaId
  readonly configuration: Configuration
  /** The host's log; everything that it holds at the start is durable. */
  readonly log: LogReader
  /** As recovered. */
  readonly hardState: HardState
  /** What the state holds already; entries behind it are delivered again once they are known to be committed. */
  readonly appliedIndex: LogIndex
  readonly random: Random
  /** A follower waits a uniformly random number of ticks in [n, 2n) for its leader. Above the heartbeat interval. */
  readonly electionTimeoutTicks: number
  readonly heartbeatIntervalTicks: number
  /** The window of unanswered appends to one peer: messages, and bytes of entries (one message may exceed them). */
  readonly inflightMessagesMax: number
  readonly inflightBytesMax: number
  /** Bytes of entries in one append message; at least one entry. */
  readonly appendBytesMax: number
  /** Bytes of committed entries in one `Ready`; at least one entry. Also what may be delivered and not yet applied. */
  readonly committedBytesMax: number
  /** Bytes of a leader's proposals without a commit; what would exceed it is refused, unless nothing is waiting. */
  readonly uncommittedBytesMax: number
  /**
   * Whether a leader that a quorum has not answered for an election timeout steps down (thesis 6.2). True unless said
   * otherwise. Without it one that is cut off leads on, and its proposals and reads wait until it hears of a later term; and
   * one that is heard by all and hears nobody holds the group up for as long as that lasts.
   */
  readonly checkQuorum?: boolean
  /** Set: reads are answered without a round of messages while a lease is valid. Left out: never. Needs `checkQuorum`. */
  readonly lease?: LeaseOptions
}

/** The limits that DESIGN.md names, with ticks of 100 ms. */
export const defaultRaftLimits = {
  electionTimeoutTicks: 10,
  heartbeatIntervalTicks: 3,
  inflightMessagesMax: 256,
  inflightBytesMax: 8 * 1024 * 1024,
  appendBytesMax: 1024 * 1024,
  committedBytesMax: 1024 * 1024,
  uncommittedBytesMax: 32 * 1024 * 1024,
} as const

/** Reads that one group lets wait for the confirmation of its leadership. A host asks once a turn for all it has. */
export const READS_WAITING_MAX = 4096

/** Asserts what the rest of the core relies on; what an operator may have chosen is refused with `CONFIG_INVALID`. */
export function checkOptions(options: RaftOptions): void {
  if (options.lease !== undefined) checkLease(options.lease, options.checkQuorum ?? true)
  const { log, hardState, appliedIndex } = options
  assert(options.replicaId !== NONE, 'a replica has an id')
  assert(options.heartbeatIntervalTicks >= 1, 'heartbeats are at least a tick apart')
  assert(options.electionTimeoutTicks > options.heartbeatIntervalTicks, 'elections wait longer than heartbeats')
  assert(options.inflightMessagesMax >= 1 && options.inflightBytesMax >= 1, 'the window lets something through')
  assert(hardState.term >= (log.termAt(log.lastIndex) ?? 0), 'the hard state is not older than the log')
  assert(hardState.commitIndex <= log.lastIndex, 'the log holds what is committed')
  assert(appliedIndex <= log.lastIndex && appliedIndex >= log.compactedIndex, 'the log continues what is applied')
}
