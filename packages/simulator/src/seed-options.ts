import { type Random, SeededRandom } from '@cordillera/base'
import type { BankOptions } from './bank.js'
import type { Delays } from './virtual-network.js'
import type { WorkloadOptions } from './workload.js'

/**
 * What a run of a seed consists of, as plain JSON: the same options are the same run. {@link drawOptions} makes them from
 * a seed and a profile; a failing run's are what the shrinker reduces and what is kept.
 */
export interface SeedOptions {
  readonly seed: number
  readonly profile: Profile
  readonly nodes: number
  /** Machines that join the founded cluster while things go wrong, or at its end; 0 when it is not there. */
  readonly late?: number
  /** Initial ranges besides the system range. */
  readonly ranges: number
  /** How long things go wrong, in virtual time. */
  readonly faultsMs: number
  readonly faults: FaultMix
  readonly workload: WorkloadOptions
  /** Not there: nobody moves money. */
  readonly bank?: BankOptions
  readonly delays: Delays
  /** `laggardEntriesMax`: with so few entries kept, a machine that was away gets snapshots. */
  readonly log: { readonly segmentBytes: number; readonly laggardEntriesMax?: number }
  readonly state: { readonly flushBytes: number; readonly flushMs: number }
}

/** Which faults, how often, and for how long. */
export interface FaultMix {
  /** Shares; a kind that is not there does not happen. */
  readonly shares: Partial<Record<FaultKind, number>>
  /** Between one fault and the next. */
  readonly pauseMsMax: number
  readonly durationMsMax: number
  /** Faults, by their place in the run, that are left out: nothing else changes for it. */
  readonly leftOut?: readonly number[]
}

/**
 * - network: `partition` (two machines), `halves` (two groups of machines), `bridge` (two groups that only one machine
 *   reaches both of), `one-way`, `isolate` (a machine, inward, outward or both), `slow` (a way), `clog` (a way takes
 *   seconds), `reset` (connections, and what is under way),
 * - processes: `kill`, `kill-all`, `close` (as a signal does), `pause`, `drift`, `clock-jump`,
 * - disks: `power-loss`, `power-loss-all`, `stall` (syncs), `slow-disk`, `disk-error` (EIO at a write or sync), `disk-full`,
 *   `rot` (a bit of what was synced, or a segment is cut off), `wipe` (everything is gone), `old-image` (everything is as
 *   it was seconds ago, or the log has lost its end),
 * - by command: `move` (a replica, to a machine that has none of its range), `split` (a range, at any key),
 *   `merge` (a range with its right neighbour), `decommission` (a node, which is taken back some seconds later).
 */
export const NETWORK_FAULTS = ['partition', 'halves', 'bridge', 'one-way', 'isolate', 'slow', 'clog', 'reset'] as const
export const PROCESS_FAULTS = ['kill', 'kill-all', 'close', 'pause', 'drift', 'clock-jump'] as const
export const DISK_FAULTS = [
  'power-loss',
  'power-loss-all',
  'stall',
  'slow-disk',
  'disk-error',
  'disk-full',
  'rot',
  'wipe',
  'old-image',
] as const
export const COMMANDS = ['move', 'split', 'merge', 'decommission'] as const
export const FAULT_KINDS = [...NETWORK_FAULTS, ...PROCESS_FAULTS, ...DISK_FAULTS, ...COMMANDS] as const
export type FaultKind = (typeof FAULT_KINDS)[number]

const FAULTS_BY_PROFILE = {
  calm: [],
  network: NETWORK_FAULTS,
  disk: DISK_FAULTS,
  crash: [...PROCESS_FAULTS, 'power-loss', 'power-loss-all'],
} as const satisfies Record<string, readonly FaultKind[]>

export type Profile = keyof typeof FAULTS_BY_PROFILE | 'swarm'
export const PROFILES: readonly Profile[] = ['calm', 'network', 'disk', 'crash', 'swarm']

/**
 * `swarm` leaves out a good half of all kinds of faults, others for each seed (Groce et al., Swarm Testing, ISSTA 2012);
 * the others have all kinds of their own.
 */
export function drawOptions(seed: number, profile: Profile): SeedOptions {
  // Not the run's own source: the options of a seed may gain a field without another run for those before it.
  const random = new SeededRandom(seed + 2 ** 40)
  const between = (min: number, max: number): number => min + random.below(max - min + 1)
  const anywhere = FAULT_KINDS.filter((kind) => kind !== 'decommission')
  const kinds = profile === 'swarm' ? anywhere.filter(() => random.below(2) === 0) : FAULTS_BY_PROFILE[profile]
  const shares: Partial<Record<FaultKind, number>> = {}
  for (const kind of kinds) shares[kind] = between(1, 3)
  const options: SeedOptions = {
    seed,
    profile,
    nodes: random.below(4) === 0 ? 5 : 3,
    ranges: between(1, 6),
    faultsMs: between(8, 14) * 1_000,
    faults: {
      shares,
      pauseMsMax: oneOf(random, [600, 1_200, 2_000]),
      durationMsMax: oneOf(random, [500, 1_500, 3_000]),
    },
    workload: {
      clients: between(6, 12),
      keys: between(3, 10),
      hotShare: oneOf(random, [0, 0.5, 0.9]),
      thinkMsMax: oneOf(random, [20, 60, 120]),
      timeoutMsMax: oneOf(random, [300, 2_000]),
    },
    delays: {
      minMs: 0.1,
      maxMs: oneOf(random, [0.5, 1, 5]),
      rareEvery: oneOf(random, [50, 200, 1_000]),
      rareMs: oneOf(random, [15, 100]),
    },
    log: { segmentBytes: oneOf(random, [32, 64, 256]) << 10, laggardEntriesMax: oneOf(random, [5, 50, 1_000]) },
    state: { flushBytes: oneOf(random, [4, 8, 32]) << 10, flushMs: oneOf(random, [500, 3_000]) },
    late: profile === 'swarm' && random.below(4) === 0 ? between(1, 2) : 0,
  }
  // Three nodes can spare none.
  const isSpare = profile === 'swarm' && options.nodes + (options.late ?? 0) > 3
  if (isSpare && random.below(2) === 0) shares.decommission = between(1, 3)
  const bank = random.below(2) === 0 ? undefined : { clients: between(1, 4), accounts: between(3, 8) }
  return bank === undefined ? options : { ...options, bank }
}

function oneOf<T>(random: Random, items: readonly T[]): T {
  return items[random.below(items.length)]!
}
