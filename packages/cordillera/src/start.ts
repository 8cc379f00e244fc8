import { randomBytes } from 'node:crypto'
import { CordilleraError, type Logger, SeededRandom } from '@cordillera/base'
import { CordilleraNode } from '@cordillera/node'
import { defaultReplicasLimits } from '@cordillera/replicas'
import { HttpServer } from '@cordillera/server'
import { WebSocketTransport } from '@cordillera/transport'
import { type Address, formatAddress } from './address.js'
import { ClassicLevelEngine } from './classic-level-engine.js'
import { readClusterSecret } from './cluster-secret.js'
import { DataDirectory } from './data-directory.js'
import type { StartConfig } from './start-config.js'
import { SystemClock } from './system-clock.js'
import { version } from './version.js'

/**
 * The composition root of a node's process: real disk, clock, sockets and randomness, put together from top to bottom.
 *
 * The directory is taken first and the HTTP port second, so that a second process or a port in use is known before
 * anything is founded or said to other nodes. Until the node has started the HTTP API is alive and not ready.
 */
export interface StartedNode {
  readonly httpAddress: Address
  /** Resolves when the store has stopped itself: log it and end the process. Nothing is acknowledged any more. */
  readonly failed: Promise<Error>
  /** Answers what is under way, gives leaderships away, flushes state and log, closes everything. */
  stop(): Promise<void>
}

/** As CockroachDB's consistency checker. */
const SCRUB_MS = 24 * 3_600_000
const SEGMENT_BYTES = 64 << 20
const LOG_CACHE_BYTES_MAX = 64 << 20

/** Together below the bound at which the process is ended by force. */
const HTTP_GRACE_MS = 5_000
const DRAIN_TIMEOUT_MS = 5_000

/** Throws a coded error that says what to do; the directory and the ports are free again then. */
export async function startNode(config: StartConfig, logger: Logger): Promise<StartedNode> {
  const clock = new SystemClock()
  logger.info('starting', { version, data: config.dataPath, node: process.version })
  const random = new SeededRandom(randomBytes(6).readUIntLE(0, 6))
  const advertise = formatAddress(config.advertise)
  const addresses = { http: formatAddress(config.http), peer: advertise }
  const secret =
    config.clusterSecretPath === undefined ? {} : { secret: await readClusterSecret(config.clusterSecretPath) }
  const directory = await DataDirectory.take(config.dataPath, addresses, (path) => ClassicLevelEngine.open(path))
  const server = await HttpServer.create({ clock, logger })
  const transport = new WebSocketTransport({ listen: config.peer, advertise, ...secret, clock, random, logger })
  try {
    const httpAddress = await listen(server, config.http)
    logger.info('http-listening', { address: formatAddress(httpAddress) })
    const node = await startCore(config, { directory, server, transport, clock, random, logger })
    server.serve(node)
    void node.failed.then((error) => {
      server.fail(error.message)
      // A process whose disk does not answer may take long to end: its connections do not wait for that.
      void server.close(0)
    })
    return { httpAddress, failed: node.failed, stop: () => stopNode({ server, node, directory }) }
  } catch (error) {
    await Promise.allSettled([server.close(0), transport.close(), directory.engine.close(), directory.release()])
    throw withRemedy(error, formatAddress(config.peer), '--peer')
  }
}

interface CorePorts {
  readonly directory: DataDirectory
  readonly server: HttpServer
  readonly transport: WebSocketTransport
  readonly clock: SystemClock
  readonly random: SeededRandom
  readonly logger: Logger
}

function startCore(config: StartConfig, ports: CorePorts): Promise<CordilleraNode> {
  const { directory, server, transport, clock, random, logger } = ports
  return CordilleraNode.start(
    {
      peerAddress: formatAddress(config.advertise),
      httpAddress: formatAddress(config.http),
      founding: config.founding,
      locality: config.locality,
      replicas: {
        ...defaultReplicasLimits,
        store: { ...defaultReplicasLimits.store, diskReserveBytes: config.diskReserveBytes },
      },
      scrubMs: SCRUB_MS,
      log: { segmentBytes: SEGMENT_BYTES, cacheBytesMax: LOG_CACHE_BYTES_MAX },
      version,
    },
    {
      clock,
      random,
      identityDisk: directory.identityDisk,
      logDisk: directory.logDisk,
      openEngine: () => Promise.resolve(directory.engine),
      transport,
      logger,
      observer: { onLogSync: (sample) => server.onLogSync(sample) },
    },
  )
}

interface Running {
  readonly server: HttpServer
  readonly node: CordilleraNode
  readonly directory: DataDirectory
}

async function stopNode({ server, node, directory }: Running): Promise<void> {
  server.drain()
  await server.close(HTTP_GRACE_MS)
  await node.drain(DRAIN_TIMEOUT_MS)
  await node.close()
  await directory.release()
}

async function listen(server: HttpServer, address: Address): Promise<Address> {
  try {
    return await server.listen(address)
  } catch (error) {
    throw withRemedy(error, formatAddress(address), '--http')
  }
}

/** Says what to do about an address that cannot be listened at; other errors stay as they are. */
function withRemedy(error: unknown, address: string, flag: string): unknown {
  if (error instanceof CordilleraError && error.details?.flag !== undefined) return error
  for (let at = error; at instanceof Error; at = at.cause) {
    const { code, syscall } = at as NodeJS.ErrnoException
    const reason = syscall === 'listen' || syscall === 'getaddrinfo' ? UNLISTENABLE[code ?? ''] : undefined
    if (reason === undefined) continue
    return new CordilleraError('CONFIG_INVALID', {
      detail: `${address} ${reason}; choose another ${flag}`,
      details: { flag },
      cause: error,
    })
  }
  return error
}

const UNLISTENABLE: Readonly<Record<string, string>> = {
  EADDRINUSE: 'is in use by another process',
  EADDRNOTAVAIL: 'is not an address of this machine',
  EACCES: 'may not be listened at by this user',
  ENOTFOUND: 'names no host that is known here',
}
