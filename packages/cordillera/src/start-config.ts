import { resolve } from 'node:path'
import { CordilleraError } from '@cordillera/base'
import type { FoundingConfig } from '@cordillera/node'
import { type Address, formatAddress, isLoopback } from './address.js'
import type { LogLevel } from './log-level.js'
import type { startSettings } from './setting-values.js'
import type { SettingValues } from './settings.js'

/** What `start` does, complete and without contradictions. */
export interface StartConfig {
  /** Absolute. */
  readonly dataPath: string
  readonly http: Address
  readonly peer: Address
  /** Where other nodes reach this one. */
  readonly advertise: Address
  /** Absolute; read when the node starts. */
  readonly clusterSecretPath: string | undefined
  readonly founding: FoundingConfig
  readonly locality: string
  /** Room that the node keeps on its disk. */
  readonly diskReserveBytes: number
  readonly logLevel: LogLevel
}

const INITIAL_NODES = 1
const INITIAL_RANGES = 16

/** Throws CONFIG_INVALID, with what to do, for settings that do not go together. */
export function startConfigOf(settings: SettingValues<typeof startSettings>): StartConfig {
  const { data, http, peer, clusterSecretFile, locality, diskReserveMib, logLevel } = settings
  if (data === undefined) throw invalid('--data is missing: name the directory in which the node keeps everything')
  const advertise = settings.advertise ?? peer
  if (isUnspecified(advertise.host)) {
    throw invalid(
      `${advertise.host} is every address of this machine: say with --advertise which one others reach it at`,
    )
  }
  for (const { host } of [peer, advertise]) {
    if (isLoopback(host) || clusterSecretFile !== undefined) continue
    throw invalid(
      `the peer address ${host} is beyond loopback: name a file with a cluster secret, the same on every node, with --cluster-secret-file`,
    )
  }
  const clusterSecretPath = clusterSecretFile === undefined ? undefined : resolve(clusterSecretFile)
  const founding = foundingOf(settings)
  const diskReserveBytes = diskReserveMib * 2 ** 20
  const addresses = { http, peer, advertise }
  return { dataPath: resolve(data), ...addresses, clusterSecretPath, founding, locality, diskReserveBytes, logLevel }
}

function isUnspecified(host: string): boolean {
  return host === '0.0.0.0' || host === '::' || host === '[::]'
}

function foundingOf(settings: SettingValues<typeof startSettings>): FoundingConfig {
  const { init, join, initialNodes, initialRanges } = settings
  if (init && join !== undefined) throw invalid('--init founds a cluster and --join joins one: give one of them')
  if (!init && (initialNodes !== undefined || initialRanges !== undefined)) {
    throw invalid('--initial-nodes and --initial-ranges say how a cluster is founded, and go with --init')
  }
  if (init) return { kind: 'init', nodes: initialNodes ?? INITIAL_NODES, ranges: initialRanges ?? INITIAL_RANGES }
  if (join !== undefined) return { kind: 'join', addresses: join.map(formatAddress) }
  return { kind: 'none' }
}

function invalid(detail: string): CordilleraError {
  return new CordilleraError('CONFIG_INVALID', { detail })
}
