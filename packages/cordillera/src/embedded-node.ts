import { randomBytes } from 'node:crypto'
import { CordilleraError, SeededRandom, silentLogger } from '@cordillera/base'
import { CordilleraNode } from '@cordillera/node'
import { defaultReplicasLimits } from '@cordillera/replicas'
import { AloneTransport } from './alone-transport.js'
import { ClassicLevelEngine } from './classic-level-engine.js'
import { DataDirectory } from './data-directory.js'
import { OperationWindow } from './operation-window.js'
import { SystemClock } from './system-clock.js'
import { version } from './version.js'

/**
 * A node inside of an application's process: alone in its cluster, nothing listens, nothing is logged.
 *
 * It does not keep the process from ending while no operation is under way: what was acknowledged is durable.
 */
export interface EmbeddedNode {
  readonly node: CordilleraNode
  readonly clock: SystemClock
  /** Whatever is asked of the node passes it. */
  readonly window: OperationWindow
  /** The reason, once the store has stopped itself. */
  readonly failure: Error | undefined
  /** Answers what is under way, flushes state and log, and gives the directory back. */
  stop(): Promise<void>
}

const SCRUB_MS = 24 * 3_600_000
const SEGMENT_BYTES = 16 << 20
const LOG_CACHE_BYTES_MAX = 16 << 20
const DRAIN_TIMEOUT_MS = 5_000
/** Below what the router takes, which also has work of its own. */
const OPERATIONS_MAX = 16_384
const OPERATION_BYTES_MAX = 48 << 20

/** Throws DIRECTORY_IN_USE, DIRECTORY_INVALID and what the node throws; the directory is free again then. */
export async function startEmbeddedNode(path: string): Promise<EmbeddedNode> {
  const clock = new SystemClock({ holdsProcess: false })
  const hold = new ProcessHold()
  hold.take()
  try {
    const node = await startNode(path, clock)
    const { operationsMax, bytesMax } = { operationsMax: OPERATIONS_MAX, bytesMax: OPERATION_BYTES_MAX }
    const window = new OperationWindow({
      ...{ operationsMax, bytesMax },
      onBusy: () => hold.take(),
      onIdle: () => hold.release(),
    })
    let failure: Error | undefined
    void node.core.failed.then((error) => {
      failure = error
    })
    return {
      ...{ node: node.core, clock, window },
      get failure() {
        return failure
      },
      stop: async () => {
        hold.take()
        try {
          await node.stop()
        } finally {
          hold.release()
        }
      },
    }
  } finally {
    hold.release()
  }
}

async function startNode(
  path: string,
  clock: SystemClock,
): Promise<{ readonly core: CordilleraNode; stop(): Promise<void> }> {
  const addresses = { http: '', peer: '' }
  const directory = await DataDirectory.take(path, addresses, (engine) => ClassicLevelEngine.open(engine))
  try {
    const core = await CordilleraNode.start(
      {
        peerAddress: '',
        httpAddress: '',
        founding: { kind: 'init', nodes: 1, ranges: 1 },
        locality: '',
        replicas: defaultReplicasLimits,
        scrubMs: SCRUB_MS,
        log: { segmentBytes: SEGMENT_BYTES, cacheBytesMax: LOG_CACHE_BYTES_MAX },
        version,
      },
      {
        clock,
        random: new SeededRandom(randomBytes(6).readUIntLE(0, 6)),
        identityDisk: directory.identityDisk,
        logDisk: directory.logDisk,
        openEngine: () => Promise.resolve(directory.engine),
        transport: new AloneTransport(),
        logger: silentLogger,
      },
    )
    const stop = async (): Promise<void> => {
      await core.drain(DRAIN_TIMEOUT_MS)
      await core.close()
      await directory.release()
    }
    if (isAlone(core)) return { core, stop }
    await stop()
    throw new CordilleraError('DIRECTORY_INVALID', {
      detail: `${path} belongs to a node of a larger cluster, which it cannot serve alone; start it with "cordillera start"`,
    })
  } catch (error) {
    await Promise.allSettled([directory.engine.close(), directory.release()])
    throw error
  }
}

function isAlone(node: CordilleraNode): boolean {
  for (const { replicas } of node.router.descriptors()) if (replicas.length > 1) return false
  return true
}

/** Keeps the process from ending while it is taken. */
class ProcessHold {
  readonly #timer = setInterval(() => {}, 2 ** 30).unref()

  take(): void {
    this.#timer.ref()
  }

  release(): void {
    this.#timer.unref()
  }
}
