import type { Clock, Logger, Random } from '@cordillera/base'
import type { Disk, SyncSample } from '@cordillera/raft-log'
import type { ReplicaObserver, ReplicasLimits } from '@cordillera/replicas'
import type { StateEngine } from '@cordillera/state'
import type { Transport } from '@cordillera/wire'

/** What a node is told; parsed and complete. */
export interface NodeConfig {
  /** `host:port` at which other nodes reach this one. */
  readonly peerAddress: string
  /** `host:port` of the HTTP API, for people and other nodes' lists; empty when there is none. */
  readonly httpAddress: string
  readonly founding: FoundingConfig
  /** Failure domains, outermost first, as given: `region=a,zone=b`. */
  readonly locality: string
  readonly replicas: ReplicasLimits
  /** Each range that is led here is compared with its other replicas about this often; see `RangeScrub`. */
  readonly scrubMs: number
  readonly log: { readonly segmentBytes: number; readonly cacheBytesMax: number }
  /** The version of the program, for people. */
  readonly version: string
}

/** What to do with an empty directory. With an identity, `join` only names further addresses and `init` does nothing. */
export type FoundingConfig =
  | { readonly kind: 'init'; readonly nodes: number; readonly ranges: number }
  | { readonly kind: 'join'; readonly addresses: readonly string[] }
  | { readonly kind: 'none' }

/** Everything a node touches outside of itself. The simulator hands in the same node other ports. */
export interface NodePorts {
  readonly clock: Clock
  readonly random: Random
  /** Where the identity is kept. */
  readonly identityDisk: Disk
  /** Where the segments of the Raft log are kept; nothing else is in it. */
  readonly logDisk: Disk
  /** Opens the state database and with it takes the directory's lock. */
  readonly openEngine: () => Promise<StateEngine>
  readonly transport: Transport
  readonly logger: Logger
  readonly observer?: NodeObserver
}

/** Measurements as they happen; must return quickly and not throw. */
export interface NodeObserver {
  onLogSync?(sample: SyncSample): void
  readonly replicas?: ReplicaObserver
}
