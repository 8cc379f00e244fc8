import type { RaftLog } from '@cordillera/raft-log'
import type { Replicas, SpaceLevel, StoreCondition } from '@cordillera/replicas'
import type { Router, RouterStats } from '@cordillera/router'
import type { StateStore } from '@cordillera/state'
import type { PeerLinks } from '@cordillera/wire'

/** Cumulative counters (names end in `Total`) and gauges of one node; flat, never one per range. */
export interface NodeMetrics {
  readonly [name: string]: number
}

/** What `storeHealth` and `storeSpace` say: 0 is good, and more is worse. */
const CONDITIONS: Readonly<Record<StoreCondition, number>> = { healthy: 0, slow: 1, stalled: 2, dead: 3 }
const LEVELS: Readonly<Record<SpaceLevel, number>> = { ample: 0, short: 1, out: 2 }

export function takeMetrics(parts: {
  readonly log: RaftLog
  readonly state: StateStore
  readonly replicas: Replicas
  readonly router: Router
  readonly links: PeerLinks
}): NodeMetrics {
  const { log, state, replicas, router, links } = parts
  let leaders = 0
  let quiescent = 0
  let total = 0
  for (const replica of replicas.replicas()) {
    total++
    if (replica.core.role === 'leader') leaders++
    if (replica.core.quiescent) quiescent++
  }
  const { counts, stores } = replicas
  const logged = log.stats
  const peers = links.stats
  return {
    logFsyncTotal: logged.syncs,
    logEntriesTotal: logged.entries,
    logRecordsTotal: logged.records,
    logBytesTotal: logged.bytes,
    logSegments: logged.segments,
    logCacheBytes: logged.cacheBytes,
    logWritingMs: logged.writingForMs,
    storeHealth: CONDITIONS[stores.report.condition],
    storeSpace: LEVELS[stores.report.space],
    storeFreeBytes: stores.freeBytes,
    leadershipsShedTotal: stores.counts.leadershipsShed,
    writesRefusedDiskFullTotal: stores.counts.writesRefused,
    stateUnflushedBytes: state.unflushedBytes,
    replicas: total,
    leaders,
    quiescentReplicas: quiescent,
    silencedReplicas: replicas.silenced.size,
    raftMessagesSentTotal: counts.raftMessagesSent,
    raftMessagesReceivedTotal: counts.raftMessagesReceived,
    raftMessagesUnsentTotal: counts.raftMessagesUnsent,
    leaderChangesTotal: counts.leaderChanges,
    snapshotsSentTotal: counts.snapshotsSent,
    snapshotsInstalledTotal: counts.snapshotsInstalled,
    snapshotBytesSentTotal: counts.snapshotBytesSent,
    turnsTotal: counts.turns,
    peerLinksUp: peers.linksUp,
    peerFramesSentTotal: peers.framesSent,
    peerBytesSentTotal: peers.bytesSent,
    peerFramesReceivedTotal: peers.framesReceived,
    peerBytesReceivedTotal: peers.bytesReceived,
    ...routerNumbers(router.stats),
  }
}

function routerNumbers({ operationsWaiting, operationBytesWaiting, ...counters }: RouterStats): Record<string, number> {
  const flat: Record<string, number> = {
    routerOperationsWaiting: operationsWaiting,
    routerOperationBytesWaiting: operationBytesWaiting,
  }
  for (const [name, value] of Object.entries(counters))
    flat[`router${name[0]!.toUpperCase()}${name.slice(1)}Total`] = value
  return flat
}
