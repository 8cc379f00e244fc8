import type { RaftLog } from '@cordillera/raft-log'
import type { Replicas } from '@cordillera/replicas'
import type { Router } from '@cordillera/router'
import type { StateStore } from '@cordillera/state'

/** Cumulative counters (names end in `Total`) and gauges of one node; flat, never one per range. */
export interface NodeMetrics {
  readonly [name: string]: number
}

export function takeMetrics(parts: {
  readonly log: RaftLog
  readonly state: StateStore
  readonly replicas: Replicas
  readonly router: Router
}): NodeMetrics {
  const { log, state, replicas, router } = parts
  let leaders = 0
  let quiescent = 0
  let total = 0
  for (const replica of replicas.replicas()) {
    total++
    if (replica.core.role === 'leader') leaders++
    if (replica.core.quiescent) quiescent++
  }
  const { counts } = replicas
  return {
    logFsyncTotal: log.stats.syncs,
    logEntriesTotal: log.stats.entries,
    logRecordsTotal: log.stats.records,
    logBytesTotal: log.stats.bytes,
    logSegments: log.stats.segments,
    logCacheBytes: log.stats.cacheBytes,
    stateUnflushedBytes: state.unflushedBytes,
    replicas: total,
    leaders,
    quiescentReplicas: quiescent,
    silencedReplicas: replicas.silenced.size,
    raftMessagesSentTotal: counts.raftMessagesSent,
    raftMessagesReceivedTotal: counts.raftMessagesReceived,
    raftMessagesUnsentTotal: counts.raftMessagesUnsent,
    leaderChangesTotal: counts.leaderChanges,
    turnsTotal: counts.turns,
    ...prefixed('router', router.stats),
  }
}

function prefixed(prefix: string, counts: object): Record<string, number> {
  const flat: Record<string, number> = {}
  for (const [name, value] of Object.entries(counts)) {
    if (typeof value === 'number') flat[`${prefix}${name[0]!.toUpperCase()}${name.slice(1)}`] = value
  }
  return flat
}
