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
  readonly founding: FoundingConfig
  readonly locality: string
  readonly logLevel: LogLevel
}

const INITIAL_NODES = 1
const INITIAL_RANGES = 16

/** Throws CONFIG_INVALID, with what to do, for settings that do not go together. */
export function startConfigOf(settings: SettingValues<typeof startSettings>): StartConfig {
  const { data, http, peer, locality, logLevel } = settings
  if (data === undefined) throw invalid('--data is missing: name the directory in which the node keeps everything')
  const advertise = settings.advertise ?? peer
  for (const { host } of [peer, advertise]) {
    if (isLoopback(host)) continue
    throw invalid(
      `the peer address ${host} is beyond loopback, which needs TLS or a cluster secret; this version has neither yet`,
    )
  }
  return { dataPath: resolve(data), http, peer, advertise, founding: foundingOf(settings), locality, logLevel }
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
