import { type Clock, CordilleraError, type NodeId, type RangeId, type ReplicaId } from '@cordillera/base'
import {
  type Descriptor,
  decodeDescriptor,
  encodeDescriptor,
  isSurvivor,
  type RangeRecovery,
  recoveredVersion,
  spansOverlap,
} from '@cordillera/ranges'
import { newestOf, type Replicas } from '@cordillera/replicas'
import type { StateStore } from '@cordillera/state'
import type { KnownRecoveries, RecoveriesTable } from '@cordillera/system'
import type { PeerLinks } from '@cordillera/wire'
import {
  assessRecovery,
  type RecoveryAssessment,
  type RecoverySurvey,
  type SurveyedReplica,
} from './recovery-assessment.js'
import type { RecoveryWatch } from './recovery-watch.js'

/**
 * Decides, by a person's word, which replica a range without a majority goes on from, and waits until it does.
 *
 * The decision is one record of the system range, written only over what its writer has seen; what follows is done by whoever
 * learns of it (`RecoveryWatch`). So whoever asks may die, or ask twice, or not be alone. As long as the replica that was decided on
 * can be reached there is no other decision; one that replaces it has a higher version, by which it is given up.
 */
export interface RangeRecoveringParts {
  readonly nodeId: NodeId
  readonly replicas: Replicas
  readonly state: Pick<StateStore, 'replicas'>
  readonly links: Pick<PeerLinks, 'ask' | 'isUp'>
  readonly clock: Clock
  readonly table: RecoveriesTable
  readonly watch: RecoveryWatch
  /** Every node of the cluster, as far as is known. */
  nodes(): Iterable<NodeId>
  /** An id that no replica ever had. */
  allocateReplicaIds(count: number): Promise<ReplicaId>
}

const ASK_TIMEOUT_MS = 2_000
/** What was lost is looked for again after so long, before anything is decided. */
const WATCH_MS = 3_000

export class RangeRecovering {
  readonly #parts: RangeRecoveringParts

  constructor(parts: RangeRecoveringParts) {
    this.#parts = parts
  }

  /**
   * What may be lost, for a person, and what {@link recover} is to be told. Rejects with `NOT_FOUND`, and with `CONFLICT` when the
   * range must not be recovered.
   */
  async assess(rangeId: RangeId): Promise<{ readonly detail: string; readonly after: number }> {
    const { recoveries } = await this.#parts.table.read()
    const { detail } = possible(assessRecovery(rangeId, await this.#survey(rangeId)))
    return { detail, after: lastOf(recoveries, rangeId)?.version ?? 0 }
  }

  /**
   * One try. Resolves to where the range goes on, once it has a leader there. Rejects with `UNAVAILABLE` while that is on its way,
   * otherwise as {@link assess}, having done nothing. A decision that is newer than `after` is the one that was asked for.
   */
  async recover(rangeId: RangeId, after: number): Promise<object> {
    const { table, watch } = this.#parts
    const known = await table.read()
    watch.learn(known.recoveries)
    const decided = lastOf(known.recoveries, rangeId)
    const survey = await this.#survey(rangeId)
    if (decided !== undefined) {
      if (decided.version > after && isLed(survey, decided))
        return { nodeId: decided.nodeId, replicaId: decided.successor }
      // The replica that was decided on goes on by itself, as soon as its node knows of it.
      const isThere = survey.replicas.some(({ replicaId, descriptor }) => isSurvivor(replicaId, descriptor, decided))
      if (decided.version > after || isThere) throw onItsWay(decided)
    }
    const recovery = await this.#decide(rangeId, known, possible(assessRecovery(rangeId, survey)).survivor)
    watch.learn(await table.add(known, recovery))
    throw onItsWay(recovery)
  }

  /** Answers another node: the range as this node's replica has it, and the other ranges here with keys of it, as it is said to be. */
  async onAsked(body: unknown): Promise<unknown> {
    const { replicas } = this.#parts
    const [rangeId, known] = Array.isArray(body) ? body : []
    if (!Number.isSafeInteger(rangeId)) throw new CordilleraError('BAD_REQUEST', { detail: 'a survey names a range' })
    const span = known instanceof Uint8Array ? decodeDescriptor(known) : undefined
    const others: Uint8Array[] = []
    for (const one of replicas.descriptors()) {
      const isFrozenByIt = one.merge?.kind === 'frozen' && one.merge.leftId === rangeId
      const hasKeys = span !== undefined && spansOverlap(one, span)
      if (one.rangeId !== rangeId && (hasKeys || isFrozenByIt)) others.push(encodeDescriptor(one))
    }
    const own = this.#replicaHere(rangeId)
    const up = [...this.#parts.nodes()].filter((node) => this.#parts.links.isUp(node))
    return { replica: own && { ...own, descriptor: encodeDescriptor(own.descriptor) }, up, others }
  }

  #replicaHere(rangeId: RangeId): SurveyedReplica | undefined {
    const { replicas, state: store, nodeId } = this.#parts
    const replica = replicas.replica(rangeId)
    if (replica !== undefined && !replica.isMember) return undefined
    if (replica?.isRestoring) throw new CordilleraError('UNAVAILABLE', { detail: 'a snapshot is being installed' })
    // Silenced, or about to go on as another one, or to go.
    const state = replica?.state ?? [...store.replicas.values()].find((one) => one.descriptor.rangeId === rangeId)
    if (state === undefined) return undefined
    const { replicaId, descriptor, appliedIndex, appliedTerm } = state
    const log = replica?.log ?? replicas.silenced.get(rangeId)?.log
    const isDiverged = replica === undefined && replicas.silenced.get(rangeId)?.reason === 'diverged'
    const lastIndex = log?.lastIndex ?? appliedIndex
    return {
      ...{ nodeId, replicaId, descriptor, leads: replica?.core.role === 'leader', takesPart: replica !== undefined },
      ...{ isDamaged: log === undefined, isDiverged, lastIndex, lastTerm: log?.termAt(lastIndex) ?? appliedTerm },
      ...{ commitIndex: replica?.core.commitIndex ?? appliedIndex, appliedIndex },
    }
  }

  async #survey(rangeId: RangeId): Promise<RecoverySurvey> {
    const { nodes } = this.#parts
    const first = await this.#ask([rangeId])
    const newest = newestOf(first.flatMap(({ replica }) => replica ?? []))
    const told = newest === undefined ? first : await this.#ask([rangeId, encodeDescriptor(newest)])
    return {
      replicas: told.flatMap(({ replica }) => replica ?? []),
      answered: new Set(told.map(({ nodeId }) => nodeId)),
      reachable: new Set([...first, ...told].flatMap(({ nodeId, up }) => [nodeId, ...up])),
      nodes: [...nodes()],
      others: told.flatMap(({ others }) => others),
    }
  }

  async #ask(body: readonly unknown[]): Promise<Answer[]> {
    const { links, nodeId: self, nodes } = this.#parts
    const answers: Answer[] = []
    const asked = [...new Set([self, ...nodes()])].map(async (nodeId) => {
      if (nodeId !== self && !links.isUp(nodeId)) return
      try {
        const told = nodeId === self ? this.onAsked(body) : links.ask(nodeId, 'survey', body, ASK_TIMEOUT_MS)
        answers.push(readAnswer(nodeId, await told))
      } catch (error) {
        if (!(error instanceof CordilleraError)) throw error
      }
    })
    await Promise.all(asked)
    return answers
  }

  /** What was lost stays lost for a while; then the survivor is decided on, if it is the same. */
  async #decide(rangeId: RangeId, known: KnownRecoveries, survivor: SurveyedReplica): Promise<RangeRecovery> {
    const { clock, allocateReplicaIds } = this.#parts
    const { replicaId, nodeId, descriptor } = survivor
    const successor = await allocateReplicaIds(1)
    await new Promise<void>((resolve) => clock.after(WATCH_MS, resolve))
    const again = possible(assessRecovery(rangeId, await this.#survey(rangeId))).survivor
    if (again.replicaId !== replicaId || again.descriptor.epoch.version !== descriptor.epoch.version) {
      throw new CordilleraError('UNAVAILABLE', { detail: `what is left of range ${rangeId} has changed meanwhile` })
    }
    const { start, end, epoch } = descriptor
    const version = recoveredVersion(epoch.version, known.recoveries)
    return { rangeId, start, end, from: epoch.version, version, survivor: replicaId, nodeId, successor }
  }
}

function lastOf(recoveries: readonly RangeRecovery[], rangeId: RangeId): RangeRecovery | undefined {
  return recoveries.findLast((one) => one.rangeId === rangeId)
}

function isLed({ replicas }: RecoverySurvey, { version }: RangeRecovery): boolean {
  return replicas.some(({ leads, descriptor }) => leads && descriptor.epoch.version >= version)
}

interface Answer {
  readonly nodeId: NodeId
  readonly replica: SurveyedReplica | undefined
  readonly up: readonly NodeId[]
  readonly others: readonly Descriptor[]
}

/** Throws `CORRUPT`. */
function readAnswer(nodeId: NodeId, body: unknown): Answer {
  const { replica, up, others } = (body ?? {}) as Record<string, unknown>
  if (!Array.isArray(up) || !Array.isArray(others)) throw malformed()
  return {
    nodeId,
    replica: replica === undefined || replica === null ? undefined : readReplica(nodeId, replica),
    up: up.filter((node) => Number.isSafeInteger(node)),
    others: others.map((bytes) => decodeDescriptor(bytes)),
  }
}

function readReplica(nodeId: NodeId, value: object): SurveyedReplica {
  const { replicaId, descriptor, leads, takesPart, isDamaged, isDiverged, ...ends } = value as Record<string, unknown>
  const { lastTerm, lastIndex, commitIndex, appliedIndex } = ends
  const counts = [replicaId, lastTerm, lastIndex, commitIndex, appliedIndex]
  if (!(descriptor instanceof Uint8Array) || !counts.every((count) => Number.isSafeInteger(count))) throw malformed()
  return {
    ...({ replicaId, lastTerm, lastIndex, commitIndex, appliedIndex } as Record<Ends, number>),
    ...{ nodeId, descriptor: decodeDescriptor(descriptor), leads: leads === true },
    ...{ takesPart: takesPart === true, isDamaged: isDamaged === true, isDiverged: isDiverged === true },
  }
}

type Ends = 'replicaId' | 'lastTerm' | 'lastIndex' | 'commitIndex' | 'appliedIndex'

function malformed(): CordilleraError {
  return new CordilleraError('CORRUPT', { detail: 'an answer to a survey that is none' })
}

function possible(assessed: RecoveryAssessment): Extract<RecoveryAssessment, { kind: 'possible' }> {
  if (assessed.kind === 'refused') throw new CordilleraError(assessed.code, { detail: assessed.detail })
  return assessed
}

function onItsWay({ rangeId, nodeId }: RangeRecovery): CordilleraError {
  return new CordilleraError('UNAVAILABLE', { detail: `range ${rangeId} is about to go on, on node ${nodeId}` })
}
