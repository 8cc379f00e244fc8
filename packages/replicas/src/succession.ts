import { CordilleraError, type LogIndex } from '@cordillera/base'
import { ENTRY_HEADER_BYTES, type Entry, EntryType, sealEntry } from '@cordillera/raft-core'
import type { GroupLog } from '@cordillera/raft-log'
import { encodeAdminCommand, isSurvivor, type RangeRecovery, succeededDescriptor } from '@cordillera/ranges'
import type { ReplicaState } from '@cordillera/state'
import type { SnapshotsHost } from './snapshots-host.js'

/**
 * The survivor of a recovery becomes another replica, under an id that no other configuration has ever had, of another group
 * whose only voter it is. What it was is over: its id is never used again.
 *
 * The state is what it has applied. The log is what it had behind that, acknowledged or not, then the `recover` command, as of a
 * term above all that it has heard of. So nothing of it is committed before the new group has elected its only voter, which
 * commits it as any leader does. What would have changed replicas, or the range itself, is of a configuration that is
 * no more: empty entries take its place, and what was written for a range that it would have cut has no effect.
 *
 * The log is durable before the state is, and the state changes in one write: a crash leaves the old replica as it was, or
 * the new one whole.
 *
 * Undefined, without effect: it is not the survivor, or not yet as far as it will be. One call at a time for a replica.
 */
export async function succeed(
  host: SnapshotsHost,
  former: ReplicaState,
  recovery: RangeRecovery,
): Promise<ReplicaState | undefined> {
  const { log, state: store, logger } = host
  const { replicaId, descriptor } = former
  if (!isSurvivor(replicaId, descriptor, recovery) || store.isInstalling(replicaId)) return undefined
  const replica = host.replica(descriptor.rangeId)
  const takesPart = replica?.state === former
  // What it knows to be committed, it applies by itself.
  if (takesPart && (replica.isRestoring || replica.core.commitIndex > former.appliedIndex)) return undefined
  if (takesPart) host.leave(replica)
  const formerLog = log.groups.get(replicaId)
  // Where the log is damaged, the state is all there is.
  const isWhole = formerLog !== undefined && !formerLog.damaged
  const tail = isWhole ? await tailOf(formerLog, former.appliedIndex) : []
  writeLog(host, former, recovery, tail, formerLog?.hardState.term ?? 0)
  await log.flush()
  if (store.replicas.get(replicaId) !== former) return undefined
  const successor = { replicaId: recovery.successor, descriptor: succeededDescriptor(descriptor, recovery) }
  const state = await store.succeedReplica(former, successor)
  log.removeGroup(replicaId)
  host.onGone(former)
  const { rangeId, version } = recovery
  logger.warn('range-recovered', { rangeId, replicaId, successor: recovery.successor, version, entries: tail.length })
  return state
}

/** Written again in full where a crash came between the log and the state. */
function writeLog(
  { log }: SnapshotsHost,
  { appliedIndex, appliedTerm }: ReplicaState,
  { successor, version }: RangeRecovery,
  tail: readonly Entry[],
  formerTerm: number,
): void {
  const group = log.groups.get(successor) ?? log.createGroup(successor)
  const term = 1 + Math.max(appliedTerm, formerTerm, group.hardState.term)
  const command = encodeAdminCommand({ kind: 'recover', version }, ENTRY_HEADER_BYTES)
  group.append([], { term, vote: 0, commitIndex: 0 })
  group.reset(appliedIndex, appliedTerm)
  group.append([...tail, sealEntry(term, appliedIndex + 1 + tail.length, EntryType.admin, command)], undefined)
}

/** What is behind the applied index, as the new group is to have it. As far as it can be read. */
async function tailOf(log: GroupLog, appliedIndex: LogIndex): Promise<Entry[]> {
  const tail: Entry[] = []
  try {
    for (let next = appliedIndex + 1; next <= log.lastIndex; next = appliedIndex + 1 + tail.length) {
      const entries = log.entries(next, log.lastIndex, READ_BYTES)
      if (entries === undefined) await log.load(next, log.lastIndex, READ_BYTES)
      else tail.push(...entries.map(withoutConfiguration))
    }
  } catch (error) {
    if (!(error instanceof CordilleraError) || error.code !== 'LOG_DAMAGED') throw error
  }
  return tail
}

function withoutConfiguration(entry: Entry): Entry {
  const { type, term, index } = entry
  if (type === EntryType.command || type === EntryType.empty) return entry
  return sealEntry(term, index, EntryType.empty, new Uint8Array(ENTRY_HEADER_BYTES))
}

const READ_BYTES = 1 << 20
