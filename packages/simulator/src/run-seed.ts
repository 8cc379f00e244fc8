import type { Key, RangeId } from '@cordillera/base'
import type { CordilleraNode } from '@cordillera/node'
import {
  type Descriptor,
  isNewerDescriptor,
  keyspacePrefix,
  SYSTEM_RANGE_ID,
  SYSTEM_SPAN,
  spanContains,
  systemKey,
} from '@cordillera/ranges'
import type { Replica } from '@cordillera/replicas'
import { ORACLE_KEY } from '@cordillera/system'
import { Bank } from './bank.js'
import { FaultSchedule } from './fault-schedule.js'
import { checkLinearizable } from './linearizability.js'
import type { Operation } from './operation.js'
import { PromiseClients } from './promise-clients.js'
import { readData } from './replica-data.js'
import type { SeedOptions } from './seed-options.js'
import { SimulatedCluster } from './simulated-cluster.js'
import type { SimulatedNode } from './simulated-node.js'
import type { RunTurns } from './virtual-clock.js'
import { Workload } from './workload.js'

/**
 * One whole run of one seed: nodes found a cluster, clients work while things go wrong, others join, everything is healed,
 * and then what was promised is looked at: no node failed, every range can be written and read through every node
 * soon, the history is linearizable, and the replicas hold the same.
 */
export interface RunSeedOptions {
  readonly options: SeedOptions
  readonly runTurns: RunTurns
  readonly onEvent?: (text: string) => void
}

export interface SeedReport {
  readonly options: SeedOptions
  /** Empty when every promise was kept. */
  readonly violations: readonly string[]
  readonly history: readonly Operation[]
  /** How the clients' operations ended. */
  readonly outcomes: ReadonlyMap<string, number>
  /** What scanners, cursors and counters did. */
  readonly promises: PromiseClients['counts']
  /** What the bank's clients did, where there is one. */
  readonly bank: Bank['counts'] | undefined
  /** Operations that were answered, those of scanners and counters included. */
  readonly operations: number
  readonly faults: ReadonlyMap<string, number>
  /** How many faults there were, those left out included. */
  readonly struck: number
  readonly traceHash: string
  /** Callbacks that ran. */
  readonly events: number
  readonly virtualMs: number
}

const FOUNDING_TIMEOUT_MS = 30_000
const LIVENESS_MS = 30_000
/** Of runs that were kept from before there was a limit. */
const LAGGARD_ENTRIES_MAX = 10_000
/** Nodes write a little for themselves at all times, never for long. */
const DRAINED_MS = 5_000
const REPAIR_MS = 30_000
/** The placement driver reads them as often. */
const SETTINGS_READ_MS = 6_000
/** Every range is compared a few times in a run. */
const SCRUB_MS = 4_000
/** Of every range, in clusters of three and more. */
const REPLICAS = 3

export async function runSeed({ options, runTurns, onEvent }: RunSeedOptions): Promise<SeedReport> {
  const { seed, nodes, ranges, faultsMs, log, state, late = 0 } = options
  const cluster = new SimulatedCluster({
    seed,
    runTurns,
    nodes,
    ranges,
    late,
    delays: options.delays,
    segmentBytes: log.segmentBytes,
    scrubMs: SCRUB_MS,
    limits: {
      stateFlushBytes: state.flushBytes,
      stateFlushMs: state.flushMs,
      laggardEntriesMax: log.laggardEntriesMax ?? LAGGARD_ENTRIES_MAX,
    },
    ...(onEvent === undefined ? {} : { onEvent }),
  })
  const { clock } = cluster
  const workload = new Workload(cluster, options.workload)
  const promises = new PromiseClients(cluster, ranges)
  const bank = options.bank === undefined ? undefined : new Bank(cluster, options.bank)
  const faults = new FaultSchedule(cluster, options.faults)
  const stopClients = (): void => {
    for (const clients of [workload, promises, bank]) clients?.stop()
  }
  const violations: string[] = []
  try {
    cluster.startAll()
    if (!(await clock.runUntil(() => cluster.isReady(), FOUNDING_TIMEOUT_MS))) violations.push('no cluster was founded')
    workload.start()
    promises.start()
    bank?.start()
    faults.start()
    for (const machine of cluster.machines.slice(nodes)) {
      clock.after(cluster.fork().below(faultsMs), () => machine.start())
    }
    await clock.run(faultsMs)
    faults.heal()
    violations.push(...(await probe(cluster, workload, clock.now() + LIVENESS_MS)))
    if (cluster.machines.length > REPLICAS) {
      stopClients()
      await endBalancing(cluster)
    }
    violations.push(...(await repair(cluster)))
    checkSpans(cluster)
    stopClients()
    const isIdle = (): boolean => workload.isIdle && promises.isIdle && (bank?.isIdle ?? true)
    if (!(await clock.runUntil(isIdle, 10_000))) violations.push('an operation was never answered')
    await cluster.settle(promises.check(), 10_000)
    bank?.check()
    violations.push(...promises.violations, ...(bank?.violations ?? []))
    workload.explain()
    const verdict = checkLinearizable(workload.history)
    if (!verdict.ok) violations.push(`not linearizable: key ${verdict.key}: ${verdict.detail}`)
    violations.push(...(await compareReplicas(cluster)))
  } catch (error) {
    violations.push(error instanceof Error ? (error.stack ?? error.message) : String(error))
  }
  violations.push(...cluster.checker.violations, ...cluster.failures)
  return {
    options,
    violations,
    history: workload.history,
    outcomes: workload.outcomes,
    promises: promises.counts,
    bank: bank?.counts,
    operations:
      (workload.outcomes.get('ok') ?? 0) +
      (workload.outcomes.get('VERSION_MISMATCH') ?? 0) +
      promises.operations +
      (bank?.operations ?? 0),
    faults: faults.counts,
    struck: faults.struck,
    traceHash: cluster.trace.hash,
    events: clock.turns,
    virtualMs: clock.now(),
  }
}

function checkSpans({ checker, machines }: SimulatedCluster): void {
  const all = new Map<RangeId, Descriptor>()
  for (const { replicas, isOutdated } of machines) {
    // What was put back may have missed anything.
    if (isOutdated) continue
    const descriptors = replicas.map(({ descriptor }) => descriptor)
    checker.checkSpans(descriptors, false)
    for (const descriptor of descriptors) {
      const known = all.get(descriptor.rangeId)
      if (known === undefined || isNewerDescriptor(descriptor, known)) all.set(descriptor.rangeId, descriptor)
    }
  }
  checker.checkSpans([...all.values()], true)
}

/** Writes and reads a key of every range through every node. */
async function probe(cluster: SimulatedCluster, workload: Workload, deadlineMs: number): Promise<string[]> {
  const { clock } = cluster
  const leftMs = (): number => Math.max(0, deadlineMs - clock.now())
  if (!(await clock.runUntil(() => cluster.isReady(), leftMs()))) {
    return cluster.machines.map(
      ({ address, status, node }) => `liveness: ${address} is ${status.kind}, ready: ${node?.isReady()}`,
    )
  }
  const missing = new Set<string>()
  for (const machine of cluster.machines.filter(({ node, isOutdated }) => node !== undefined && !isOutdated)) {
    for (const key of probedKeys(cluster)) {
      for (const kind of ['put', 'get'] as const) {
        const name = `${kind} of ${key} through ${machine.address}`
        missing.add(name)
        const attempt = async (): Promise<void> => {
          const outcome = await workload.operate(machine, kind, key, 5_000)
          if (outcome === 'ok') missing.delete(name)
          else if (leftMs() > 0) clock.after(100, attempt)
        }
        void attempt()
      }
    }
  }
  await clock.runUntil(() => missing.size === 0, leftMs())
  return [...missing].map((name) => `liveness: no ${name} within ${LIVENESS_MS} ms of healing`)
}

/** One of every range that users' keys are in. */
function probedKeys({ machines }: SimulatedCluster): Set<string> {
  const prefix = keyspacePrefix('default')
  const starts = machines.flatMap(({ replicas }) => replicas.map(({ descriptor }) => descriptor.start))
  const isOfUsers = (start: Key): boolean => start === SYSTEM_SPAN.end || start.startsWith(prefix)
  return new Set(starts.filter(isOfUsers).map((start) => `${start.slice(prefix.length)}probe`))
}

/** Replicas still go where there are fewer, and would while they are compared. What is out of order is still put in order. */
async function endBalancing(cluster: SimulatedCluster): Promise<void> {
  const { clock } = cluster
  const deadlineMs = clock.now() + REPAIR_MS
  // A node may still stop itself for what was done to its disk, with the question.
  const asked = async <T>(ask: (placement: CordilleraNode['placement']) => Promise<T>): Promise<T> => {
    for (;;) {
      try {
        return await cluster.settle(ask(cluster.nodes()[0]!.placement), 10_000)
      } catch (error) {
        if (clock.now() >= deadlineMs) throw error
      }
      await clock.run(500)
    }
  }
  await asked((placement) => placement.setSettings({ balanceTolerance: 1_000 }))
  await clock.run(SETTINGS_READ_MS)
  const running = async (): Promise<boolean> => {
    const operators = await asked((placement) => placement.operators())
    return operators.some(({ state }) => state === 'running')
  }
  while ((await running()) && clock.now() < deadlineMs) await clock.run(500)
}

/** Replicas whose logs were damaged are replaced, those that were removed destroyed, and merges ended, without anybody's doing. */
async function repair({ clock, machines }: SimulatedCluster): Promise<string[]> {
  const nodeIds = new Set(machines.map(({ node }) => node?.identity.nodeId))
  // What is on machines that are gone has nobody to replace it.
  const isWhole = ({ isMember, descriptor: { replicas, merge } }: Replica): boolean => {
    const there = replicas.filter(({ nodeId }) => nodeIds.has(nodeId))
    const isOneEach = new Set(there.map(({ nodeId }) => nodeId)).size === there.length
    const isSettled = there.every(({ type }) => type === 'voter') && merge === undefined
    return isMember && isOneEach && there.length <= REPLICAS && isSettled
  }
  const broken = (): string[] =>
    machines.flatMap(({ address, node, replicas }) => {
      const silenced = node?.metrics().silencedReplicas ?? 0
      // A machine that is gone has what it had when it was there.
      const strays = node === undefined ? [] : replicas.filter((replica) => !isWhole(replica))
      return [
        ...(silenced > 0 ? [`repair: ${silenced} replicas of ${address} are not replaced`] : []),
        ...strays.map(({ replicaId, descriptor }) => {
          const places = descriptor.replicas.map((place) => `${place.replicaId}@${place.nodeId} ${place.type}`)
          const merge = descriptor.merge === undefined ? '' : `, ${JSON.stringify(descriptor.merge)}`
          return `repair: replica ${replicaId} of range ${descriptor.rangeId} on ${address} sees ${places.join(', ')}${merge}`
        }),
      ]
    })
  const deadlineMs = clock.now() + REPAIR_MS
  while (broken().length > 0 && clock.now() < deadlineMs) await clock.run(200)
  return broken()
}

/** Lets the followers catch up, closes every node and looks at what their state databases hold. */
async function compareReplicas(cluster: SimulatedCluster): Promise<string[]> {
  const { clock } = cluster
  // One whose disks are empty, or were put back, or whose log could not be read at all, has nothing any more.
  const machines = cluster.machines.filter(({ node, isOutdated }) => node !== undefined && !isOutdated)
  await clock.run(5_000)
  await clock.runUntil(() => machines.every((machine) => undrained(machine).length === 0), DRAINED_MS)
  const violations = machines.flatMap(undrained)
  const held = machines.map(({ replicas }) => replicas.map(({ descriptor }) => descriptor))
  for (const machine of machines) machine.close()
  const isDown = (): boolean => machines.every(({ status }) => status.kind === 'down')
  if (!(await clock.runUntil(isDown, 30_000))) {
    return machines.map(({ address, status }) => `closing: ${address} is ${status.kind}`)
  }
  /** By range, what the first machine that holds it has of it. */
  const expected = new Map<RangeId, { readonly address: string; readonly data: Map<Key, string> }>()
  for (const [i, { address, engine }] of machines.entries()) {
    const all = await cluster.settle(readData(engine), 10_000)
    for (const descriptor of held[i]!) {
      const data = new Map([...all].filter(([key]) => spanContains(descriptor, key)))
      const first = expected.get(descriptor.rangeId)
      if (first === undefined) expected.set(descriptor.rangeId, { address, data })
      else violations.push(...differences(first, { address, data }))
    }
  }
  return violations
}

/** What waits on a machine, now; the system range is never at rest. */
function undrained({ address, node, replicas }: SimulatedNode): string[] {
  const waiting = node?.metrics().routerOperationsWaiting
  const found = waiting === 0 ? [] : [`queues: ${waiting} operations wait in the router of ${address}`]
  for (const { isIdle, core, descriptor, state } of replicas) {
    const { lastIndex, commitIndex, appliedIndex } = core
    const { transactions } = state.memory
    const left = [...transactions.locks(), ...transactions.records()].length
    if (left > 0)
      found.push(`transactions: ${left} locks and records are left in range ${descriptor.rangeId} of ${address}`)
    if (descriptor.rangeId === SYSTEM_RANGE_ID || (isIdle && lastIndex === appliedIndex)) continue
    found.push(
      `queues: range ${descriptor.rangeId} of ${address} is at ${appliedIndex}, ${commitIndex} of ${lastIndex}`,
    )
  }
  return found
}

interface Held {
  readonly address: string
  readonly data: ReadonlyMap<Key, string>
}

function differences(here: Held, there: Held): string[] {
  const found: string[] = []
  for (const key of new Set([...here.data.keys(), ...there.data.keys()])) {
    const [one, other] = [here.data.get(key), there.data.get(key)]
    // What runs beside the system range goes on writing as long as a node leads, whoever has closed before.
    if (one === other || isWrittenToTheEnd(key)) continue
    found.push(`replicas differ at ${JSON.stringify(key)}: ${here.address} ${one}, ${there.address} ${other}`)
  }
  return found
}

const DRIVER_PREFIXES = [systemKey('operator'), systemKey('next')]

function isWrittenToTheEnd(key: Key): boolean {
  return key === ORACLE_KEY || DRIVER_PREFIXES.some((prefix) => key.startsWith(prefix))
}
