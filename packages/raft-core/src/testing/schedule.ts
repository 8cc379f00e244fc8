import fc from 'fast-check'
import { type ChangeStep, isJoint, peersOf } from '../configuration.js'
import type { VirtualCluster } from './virtual-cluster.js'
import type { VirtualReplica } from './virtual-replica.js'

/**
 * What chance does to a {@link VirtualCluster}: single steps of its hosts, in any order, and their faults. A property says how
 * often which; what cannot be done at the moment is not.
 */
export type Weights = { readonly [Kind in ActionKind]?: number }

export interface Action {
  readonly kind: ActionKind
  readonly a: number
  readonly b: number
}

/** Ticks and clocks have nothing to do with each other, but for a host that works as it should. */
export const TICK_MS = 100

export function scheduleOf(weights: Weights, length: { minLength: number; maxLength: number }): fc.Arbitrary<Action[]> {
  const kinds = Object.entries(weights).map(([kind, weight]) => ({
    weight,
    arbitrary: fc.constant(kind as ActionKind),
  }))
  const action = fc.record({ kind: fc.oneof(...kinds), a: fc.nat(1 << 16), b: fc.nat(1 << 16) })
  return fc.array(action, { ...length, size: 'max' })
}

export function runSchedule(cluster: VirtualCluster, actions: readonly Action[]): void {
  const { replicas } = cluster
  actions.forEach(({ kind, a, b }, serial) => {
    const [replica, other] = [replicas[a % replicas.length]!, replicas[b % replicas.length]!]
    runs[kind]({ cluster, replica, other, a, b, serial })
  })
}

/** One action: two replicas that chance picked, which may be one, the numbers that picked them, and which action it is. */
interface Chance {
  readonly cluster: VirtualCluster
  readonly replica: VirtualReplica
  readonly other: VirtualReplica
  readonly a: number
  readonly b: number
  readonly serial: number
}

type Run = (chance: Chance) => void

/** A step of the replica, if it runs. */
function onOne(run: Run): Run {
  return (chance) => {
    const { cluster, replica } = chance
    if (cluster.isRunning(replica)) cluster.step(replica, () => run(chance))
  }
}

/** Every replica that runs, in turn. */
function onAll(run: Run): Run {
  return (chance) => {
    for (const replica of chance.cluster.running) run({ ...chance, replica })
  }
}

/** Every replica that believes to lead: there may be several. */
function onLeaders(run: Run): Run {
  return (chance) => {
    for (const replica of chance.cluster.running) if (replica.group.role === 'leader') run({ ...chance, replica })
  }
}

function onSnapshot(run: (chance: Chance, position: number) => void): Run {
  return (chance) => {
    const { length } = chance.cluster.snapshots
    if (length > 0) run(chance, chance.b % length)
  }
}

const propose: Run = ({ cluster, replica, serial }) => {
  cluster.step(replica, () => cluster.propose(replica, `command ${serial} ${replica.id}`))
}
const read: Run = ({ cluster, replica }) => cluster.step(replica, () => cluster.read(replica))
const changeOne: Run = ({ cluster, replica, a, b }) => cluster.step(replica, () => change(cluster, replica, a, b))
const crash: Run = ({ cluster, replica }) => cluster.crash(replica)
const pause: Run = ({ cluster, replica }) => cluster.paused.add(replica.id)
const transfer: Run = ({ cluster, replica, other }) => {
  cluster.step(replica, ({ group }) => group.transferLeadership(other.id))
}
const leaderUnreachable: Run = ({ cluster, replica }) => {
  cluster.step(replica, ({ group }) => group.onLeaderUnreachable())
}

const runs = {
  deliver: ({ cluster }) => tryDeliver(cluster, 0),
  'deliver-any': ({ cluster, a }) => tryDeliver(cluster, a % Math.max(cluster.network.length, 1)),
  duplicate: ({ cluster: { network }, a, b }) => {
    if (network.length > 0) network.splice(b % network.length, 0, network[a % network.length]!)
  },
  lose: ({ cluster: { network }, a }) => {
    if (network.length > 0) network.splice(a % network.length, 1)
  },
  take: ({ cluster, replica }) => {
    if (cluster.isRunning(replica) && replica.group.hasReady()) cluster.take(replica)
  },
  sync: ({ cluster, replica }) => {
    if (cluster.isRunning(replica) && replica.unsyncedCount > 0) cluster.sync(replica)
  },
  turn: ({ cluster, replica }) => {
    if (cluster.isRunning(replica)) turn(cluster, replica)
  },
  'turn-all': onAll(({ cluster, replica }) => turn(cluster, replica)),
  tick: onOne(({ replica }) => replica.tick()),
  'tick-all': (chance) => {
    chance.cluster.pass(TICK_MS)
    tickAll(chance)
  },
  propose: onOne(propose),
  'propose-to-leaders': onLeaders(propose),
  read: onOne(read),
  'read-from-leaders': onLeaders(read),
  change: onOne(changeOne),
  'change-by-leaders': onLeaders(changeOne),
  transfer: onOne(transfer),
  'transfer-by-leaders': onLeaders(transfer),
  campaign: onOne(({ replica }) => replica.group.campaign()),
  'leader-unreachable': onOne(leaderUnreachable),
  'leaders-unreachable': onAll(leaderUnreachable),
  'peer-unreachable': onOne(({ replica, other }) => replica.group.onPeerUnreachable(other.id)),
  quiesce: onOne(({ replica: { group } }) => {
    if (group.canQuiesce()) group.quiesce()
  }),
  evict: onOne(({ replica: { log } }) => {
    log.evictedIndex = log.lastIndex
  }),
  load: onOne(({ replica }) => {
    if (replica.loading !== undefined) replica.finishLoad()
  }),
  flush: onOne(({ replica }) => {
    if (!replica.isRestoring) replica.flushedIndex = replica.applied.length
  }),
  compact: onOne(({ replica }) => compact(replica)),
  install: onOne(({ replica }) => {
    if (replica.mayInstall) replica.finishRestore()
  }),
  snapshot: onSnapshot(({ cluster }, position) => {
    if (!cluster.paused.has(cluster.snapshots[position]!.to)) cluster.deliverSnapshot(position)
  }),
  'snapshot-lost': onSnapshot(({ cluster }, position) => cluster.loseSnapshot(position)),
  'snapshot-twice': onSnapshot(({ cluster: { snapshots } }, position) => snapshots.push(snapshots[position]!)),
  crash: onOne(crash),
  'crash-leaders': onLeaders(crash),
  'crash-followers': onAll(({ cluster, replica }) => {
    if (replica.group.role !== 'leader') cluster.crash(replica)
  }),
  restart: ({ replica }) => {
    if (!replica.isUp) replica.restart()
  },
  'restart-all': ({ cluster: { replicas } }) => {
    for (const replica of replicas) if (!replica.isUp) replica.restart()
  },
  cut: ({ cluster, replica, other }) => cluster.cutLinks.add(`${replica.id}>${other.id}`),
  'cut-off': ({ cluster, replica }) => cutOff(cluster, replica),
  'cut-off-leaders': onLeaders(({ cluster, replica }) => cutOff(cluster, replica)),
  heal: ({ cluster }) => cluster.cutLinks.clear(),
  pass: ({ cluster, a }) => cluster.pass(a % (4 * TICK_MS)),
  pause: onOne(pause),
  'pause-leaders': onLeaders(pause),
  resume: ({ cluster }) => cluster.paused.clear(),
} satisfies Record<string, Run>

export type ActionKind = keyof typeof runs

/** One turn of a healthy host: what is under way to it arrives, then it works and its disk is fast. */
function turn(cluster: VirtualCluster, replica: VirtualReplica): void {
  for (let at = cluster.network.length - 1; at >= 0; at--) {
    if (cluster.network[at]!.to === replica.id) cluster.deliver(at)
  }
  if (replica.group.hasReady()) cluster.take(replica)
  while (replica.unsyncedCount > 0) cluster.sync(replica)
  if (replica.loading !== undefined) cluster.step(replica, () => replica.finishLoad())
  if (replica.mayInstall) cluster.step(replica, () => replica.finishRestore())
  if (replica.group.hasReady()) cluster.take(replica)
}

/** The first from `position` on whose receiver does not stand still. */
function tryDeliver(cluster: VirtualCluster, position: number): void {
  const found = cluster.network.findIndex(({ to }, at) => at >= position && !cluster.paused.has(to))
  if (found >= 0) cluster.deliver(found)
}

function tickAll({ cluster }: { cluster: VirtualCluster }): void {
  for (const replica of cluster.running) cluster.step(replica, () => replica.tick())
}

function cutOff(cluster: VirtualCluster, replica: VirtualReplica): void {
  for (const { id } of cluster.replicas) cluster.cutLinks.add(`${replica.id}>${id}`).add(`${id}>${replica.id}`)
}

/** Adds, promotes or removes one or two replicas, as it comes. */
function change(cluster: VirtualCluster, leader: VirtualReplica, a: number, b: number): void {
  const { voters, learners } = leader.group.configuration
  const ids = cluster.replicas.map(({ id }) => id)
  const steps = [a, b].slice(0, 1 + (a % 2)).map((at): ChangeStep => {
    const replicaId = ids[at % ids.length]!
    if (learners.includes(replicaId)) return { kind: at % 5 === 0 ? 'remove' : 'promote', replicaId }
    if (voters.includes(replicaId)) return { kind: 'remove', replicaId }
    // One that was removed never comes back.
    return { kind: cluster.replica(replicaId).isEmpty ? 'add-learner' : 'remove', replicaId }
  })
  cluster.proposeChange(leader, steps)
}

/** Up to what is flushed, and so applied, and durable. */
function compact({ log, flushedIndex }: VirtualReplica): void {
  const index = Math.min(flushedIndex, log.durableLastIndex)
  if (index > log.compactedIndex) log.compactTo(index)
}

/** Those in the configuration that was applied last by anyone. */
export function membersOf(cluster: VirtualCluster): VirtualReplica[] {
  const [newest] = cluster.running.sort((a, b) => b.applied.length - a.applied.length)
  const { configuration } = newest!.group
  return isJoint(configuration) ? cluster.replicas : peersOf(configuration, 0).map((id) => cluster.replica(id))
}

/**
 * The faults stop: a command is committed and applied by all members, and a read is confirmed, within bounded time. All have
 * applied the same then.
 */
export function recover(cluster: VirtualCluster): void {
  cluster.cutLinks.clear()
  cluster.paused.clear()
  for (const replica of cluster.replicas) {
    if (!replica.isUp) replica.restart()
    cluster.step(replica, () => replica.group.wake())
  }
  while (cluster.snapshots.length > 0) cluster.loseSnapshot(0)
  const reads = cluster.confirmedReadCount
  let proposed = { index: 0, term: 0 }
  for (let round = 0; round < 400; round++) {
    cluster.pass(TICK_MS)
    tickAll({ cluster })
    cluster.settle()
    // A leader of an earlier term may still believe in itself; what it lost is asked of the next one.
    const leader = cluster.running.find(({ group }) => group.role === 'leader' && group.term > proposed.term)
    const result = leader === undefined ? undefined : cluster.propose(leader, 'the last one')
    if (result?.kind === 'proposed') {
      proposed = result
      cluster.read(leader!)
      cluster.settle()
    }
    const members = membersOf(cluster)
    const isApplied = members.every(({ applied }) => applied[proposed.index - 1]?.term === proposed.term)
    if (!isApplied || cluster.confirmedReadCount === reads) continue
    const sequences = new Set(
      members.map(({ applied }) =>
        applied
          .map(({ term }) => term)
          .slice(0, proposed.index)
          .join(),
      ),
    )
    if (sequences.size > 1) throw new Error('broken: all apply the same')
    return
  }
  const states = cluster.running.map((replica) => JSON.stringify(stateOf(cluster, replica)))
  throw new Error(`broken: liveness once the faults have stopped (${proposed.index} proposed)\n${states.join('\n')}`)
}

function stateOf(cluster: VirtualCluster, { id, group, applied, isRestoring }: VirtualReplica): object {
  const { role, term, leader, lastIndex, commitIndex, durableIndex, quiescent, configuration } = group
  const progress = cluster.replicas.map((other) => group.progressOf(other.id))
  const indexes = { lastIndex, commitIndex, durableIndex, applied: applied.length }
  return { id, role, term, leader, ...indexes, quiescent, isRestoring, configuration, progress }
}
