import type { LogIndex, NodeId, RangeId, ReplicaId, Term } from '@cordillera/base'
import type { Epoch } from '@cordillera/ranges'
import type { Replica } from './replica.js'

/** What one replica knows of its range, for the admin API; plain data that travels between nodes. */
export interface RangeReport {
  readonly rangeId: RangeId
  readonly epoch: Epoch
  readonly replicaId: ReplicaId
  readonly isLeader: boolean
  /** The node believed to lead; 0 when none is known. */
  readonly leader: NodeId
  readonly term: Term
  readonly lastIndex: LogIndex
  readonly commitIndex: LogIndex
  readonly appliedIndex: LogIndex
  readonly quiescent: boolean
}

export function reportRange(replica: Replica): RangeReport {
  const { core, descriptor, replicaId } = replica
  return {
    rangeId: descriptor.rangeId,
    epoch: descriptor.epoch,
    replicaId,
    isLeader: core.role === 'leader',
    leader: core.role === 'leader' ? replica.nodeOf(replicaId) : replica.nodeOf(core.leader),
    term: core.term,
    lastIndex: core.lastIndex,
    commitIndex: core.commitIndex,
    appliedIndex: core.appliedIndex,
    quiescent: core.quiescent,
  }
}
