import { type Clock, CordilleraError, type Logger, type Random } from '@cordillera/base'
import { type HostPort, isLoopback, parseAddress } from './address.js'

/** Bounds and delays. Configuration is parsed at the edge; here every one has its default. */
export interface TransportLimits {
  /** Bytes that wait for one peer to read; beyond it `send` refuses. One frame may exceed it alone. */
  readonly queueBytesMax: number
  /** A handshake, or a dial, that takes longer is given up. */
  readonly handshakeMs: number
  /** Connections whose handshake is not complete, and as many guests that wait for an answer; more are turned away. */
  readonly strangersMax: number
  readonly guestQuestionBytesMax: number
  /** How long a guest's question may take to be answered. */
  readonly guestMs: number
  /** Dials to one peer: first after a loss at once, then after this, doubling up to the maximum. Half is jitter. */
  readonly backoffMinMs: number
  readonly backoffMaxMs: number
  /** How long `close` lets queued frames leave. */
  readonly closeMs: number
}

export const defaultTransportLimits: TransportLimits = {
  queueBytesMax: 64 * 1024 * 1024,
  handshakeMs: 3_000,
  strangersMax: 128,
  guestQuestionBytesMax: 64 * 1024,
  guestMs: 10_000,
  backoffMinMs: 100,
  backoffMaxMs: 2_000,
  closeMs: 500,
}

export interface WebSocketTransportOptions {
  /** Port 0: any; see `WebSocketTransport.address`. */
  readonly listen: HostPort
  readonly clock: Clock
  /** For the jitter of dials, never for secrets. Default: seeded by the system. */
  readonly random?: Random
  readonly logger: Logger
  /** `host:port` at which others are told to reach this node, when it is not what is listened at. */
  readonly advertise?: string
  /** The cluster's secret: whoever connects, guests included, must prove to know it, and so do we. Never sent. */
  readonly secret?: string
  /** Allows addresses beyond loopback without a secret, where the network itself keeps strangers out. */
  readonly allowWithoutSecret?: boolean
  readonly limits?: Partial<TransportLimits>
}

/** Throws `CONFIG_INVALID` with what to do. */
export function checkOptions(options: WebSocketTransportOptions): void {
  const { listen, advertise, secret, allowWithoutSecret } = options
  if (secret !== undefined && secret.length === 0) {
    throw new CordilleraError('CONFIG_INVALID', { detail: 'the cluster secret is empty' })
  }
  if (secret !== undefined || allowWithoutSecret === true) return
  const hosts = advertise === undefined ? [listen.host] : [listen.host, parseAddress(advertise).host]
  for (const host of hosts) {
    if (isLoopback(host)) continue
    throw new CordilleraError('CONFIG_INVALID', {
      detail: `"${host}" is reachable from other machines: set a cluster secret, the same on every node`,
    })
  }
}
