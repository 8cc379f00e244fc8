import { CordilleraError } from '@cordillera/base'
import type { ClusterSettings } from './cluster-settings.js'

/** What the placement driver answers a heartbeat with: all that a node has to know of the system range. */
export interface HeartbeatAnswer {
  /** Everything is to be sent. */
  readonly resync: boolean
  /** What people have asked of the node that was heard: `member` when nothing. */
  readonly membership: string
  /** Undefined: the driver has not read them yet. What was heard last goes on. */
  readonly settings?: NodeSettings | undefined
}

/** The settings that nodes keep by themselves. */
export type NodeSettings = Pick<ClusterSettings, 'rangeSplitLoadPerSec' | 'snapshotBytesPerSecMax'>

export function nodeSettingsOf({ rangeSplitLoadPerSec, snapshotBytesPerSecMax }: ClusterSettings): NodeSettings {
  return { rangeSplitLoadPerSec, snapshotBytesPerSecMax }
}

/** As it has travelled. Throws `BAD_REQUEST`. */
export function decodeHeartbeatAnswer(body: unknown): HeartbeatAnswer {
  const { resync, membership, settings } = fieldsOf(body)
  if (typeof resync !== 'boolean' || typeof membership !== 'string') throw malformed()
  return settings === undefined ? { resync, membership } : { resync, membership, settings: decodeSettings(settings) }
}

function decodeSettings(body: unknown): NodeSettings {
  const { rangeSplitLoadPerSec, snapshotBytesPerSecMax } = fieldsOf(body)
  const isAmount = (value: unknown): value is number => typeof value === 'number' && value >= 0
  if (!isAmount(rangeSplitLoadPerSec) || !isAmount(snapshotBytesPerSecMax)) throw malformed()
  return { rangeSplitLoadPerSec, snapshotBytesPerSecMax }
}

function fieldsOf(body: unknown): Record<string, unknown> {
  if (typeof body !== 'object' || body === null) throw malformed()
  return body as Record<string, unknown>
}

function malformed(): CordilleraError {
  return new CordilleraError('BAD_REQUEST', { detail: 'an answer to a heartbeat that is none' })
}
