import { setTimeout as pause } from 'node:timers/promises'

/**
 * Looks at the nodes that stay, again and again and in every phase alike, because looking costs them time: the memory
 * and log of each, and where the replicas of the cluster are.
 */
export class Observer {
  /** Of all samples so far, in order: `{ phase, nodes: [{ name, rssMiB, logMiB, cacheMiB }], ranges }`. */
  samples = []
  /** The name that samples get from now on. */
  phase = ''
  #nodes
  #sampleMs
  #isStopped = false
  #loop

  constructor({ nodes, sampleMs }) {
    this.#nodes = nodes
    this.#sampleMs = sampleMs
    this.#loop = this.#run()
    this.#loop.catch(() => {}) // Whoever waits hears of it.
  }

  /** The next sample for which this is so, of those begun after the call; undefined when time is up. */
  async until(condition, timeoutSeconds) {
    const deadlineMs = performance.now() + timeoutSeconds * 1000
    let at = this.samples.length + 1
    while (performance.now() < deadlineMs) {
      for (; at < this.samples.length; at++) if (condition(this.samples[at])) return this.samples[at]
      await Promise.race([this.#loop, pause(10)])
    }
    return undefined
  }

  /** Rejects when a sample could not be taken. */
  async stop() {
    this.#isStopped = true
    await this.#loop
  }

  async #run() {
    for (let nextMs = performance.now(); !this.#isStopped; nextMs += this.#sampleMs) {
      const { phase } = this
      const [{ ranges }, ...nodes] = await Promise.all([
        this.#nodes[0].json('/v1/admin/ranges'),
        ...this.#nodes.map(readNode),
      ])
      this.samples.push({ phase, nodes, ranges })
      await pause(Math.max(0, nextMs + this.#sampleMs - performance.now()))
    }
  }
}

const MIB = 1024 * 1024
/** A segment's file has this size from its beginning (`segmentBytes` of `raft-log`). */
const SEGMENT_MIB = 64

async function readNode(node) {
  const metrics = await node.metrics()
  const read = (name) => {
    const value = metrics.get(name)
    if (value === undefined) throw new Error(`${node.name} does not report ${name}`)
    return value
  }
  return {
    name: node.name,
    rssMiB: read('process_resident_memory_bytes') / MIB,
    logMiB: read('cordillera_log_segments') * SEGMENT_MIB,
    logWrittenMiB: read('cordillera_log_bytes_total') / MIB,
    cacheMiB: read('cordillera_log_cache_bytes') / MIB,
  }
}

/** The largest lag of a node's replicas; undefined while that of one is unknown. */
export function lagOf(ranges, nodeId) {
  const lags = ranges.flatMap(({ replicas }) => replicas.filter((one) => one.nodeId === nodeId).map(({ lag }) => lag))
  return lags.includes(null) ? undefined : Math.max(...lags)
}

/** How many ranges a node leads. */
export function leadsOf(ranges, nodeId) {
  return ranges.filter(({ leader }) => leader === nodeId).length
}

/** What a process has sent and installed since it began; undefined for what it does not report. */
export async function readSnapshots(node) {
  const metrics = await node.metrics()
  return {
    sent: metrics.get('cordillera_snapshots_sent_total'),
    installed: metrics.get('cordillera_snapshots_installed_total'),
    bytesSent: metrics.get('cordillera_snapshot_bytes_sent_total'),
  }
}
