import { collectDefaultMetrics, type Metric, Registry } from 'prom-client'
import type { Gate } from './gate.js'
import { LOG_SYNC_BUCKETS_SECONDS, type LogSync, LogSyncMeter } from './log-sync-meter.js'
import { DURATION_BUCKETS_SECONDS, type RequestMeter } from './request-meter.js'

/**
 * What `/metrics` shows: the log's syncs, requests, the node's counters and the process.
 *
 * The number of series does not depend on the number of ranges or keys. Everything is read when somebody asks.
 */
export class ServerMetrics {
  readonly #registry = new Registry()
  readonly #gate: Gate
  readonly #logSyncs = new LogSyncMeter()
  /** As of the last time somebody asked. */
  #nodeNumbers: Readonly<Record<string, unknown>> = {}

  constructor(gate: Gate, meter: RequestMeter) {
    this.#gate = gate
    for (const metric of logSyncMetrics(this.#logSyncs)) this.#register(metric)
    this.#register(requestCounts(meter))
    this.#register(requestDurations(meter))
    collectDefaultMetrics({ register: this.#registry, eventLoopMonitoringPrecision: LOOP_SAMPLING_MS })
  }

  get contentType(): string {
    return this.#registry.contentType
  }

  /** To be called after each sync of the Raft log. */
  onLogSync(sample: LogSync): void {
    this.#logSyncs.record(sample)
  }

  text(): Promise<string> {
    this.#readNodeNumbers()
    return this.#registry.metrics()
  }

  /** The node's numbers become series under their own names; what is already counted here is not counted twice. */
  #readNodeNumbers(): void {
    this.#nodeNumbers = { ...this.#gate.tryNode()?.metrics() }
    for (const [key, value] of Object.entries(this.#nodeNumbers)) {
      const name = metricName(key)
      if (typeof value !== 'number' || this.#registry.getSingleMetric(name) !== undefined) continue
      this.#register({
        name,
        help: `The node's ${key}`,
        type: key.endsWith('Total') ? 'counter' : 'gauge',
        values: () => [{ value: Number(this.#nodeNumbers[key] ?? 0), labels: {} }],
      })
    }
  }

  /** A metric whose values are kept elsewhere. The registry needs no more of one than its name and `get`. */
  #register({ name, help, type, values }: ReadMetric): void {
    const get = async (): Promise<object> => ({ name, help, type, aggregator: 'sum', values: values() })
    this.#registry.registerMetric({ name, get } as unknown as Metric)
  }
}

/** prom-client's default of 10 ms costs an idle process 0.5 % of a core, this 0.1 %. */
const LOOP_SAMPLING_MS = 100

interface ReadMetric {
  readonly name: string
  readonly help: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  values(): readonly MetricValue[]
}

interface MetricValue {
  readonly value: number
  readonly labels: Readonly<Record<string, string | number>>
  readonly metricName?: string
}

/** `logFsyncTotal` is `cordillera_log_fsync_total`. */
function metricName(key: string): string {
  return `cordillera_${key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)}`
}

function logSyncMetrics(meter: LogSyncMeter): ReadMetric[] {
  const counter = (name: string, help: string, value: () => number): ReadMetric => {
    return {
      name: `cordillera_log_${name}_total`,
      help,
      type: 'counter',
      values: () => [{ value: value(), labels: {} }],
    }
  }
  const name = 'cordillera_log_fsync_duration_seconds'
  const durations = (): MetricValue[] => [
    ...LOG_SYNC_BUCKETS_SECONDS.map((le, i) => ({
      metricName: `${name}_bucket`,
      labels: { le },
      value: meter.countUpTo(i),
    })),
    { metricName: `${name}_bucket`, labels: { le: '+Inf' }, value: meter.count },
    { metricName: `${name}_sum`, labels: {}, value: meter.sumSeconds },
    { metricName: `${name}_count`, labels: {}, value: meter.count },
  ]
  return [
    counter('fsync', 'Syncs of the Raft log', () => meter.count),
    counter('entries', 'Entries made durable in the Raft log, of all groups', () => meter.entries),
    counter('bytes', 'Bytes written to the Raft log', () => meter.bytes),
    { name, help: 'Duration of one write and sync of the Raft log', type: 'histogram', values: durations },
  ]
}

function requestCounts(meter: RequestMeter): ReadMetric {
  return {
    name: 'cordillera_http_requests_total',
    help: 'Answered HTTP requests by method and class of status',
    type: 'counter',
    values: () =>
      [...meter.counts()].map(({ method, status, count }) => ({ value: count, labels: { method, status } })),
  }
}

function requestDurations(meter: RequestMeter): ReadMetric {
  const name = 'cordillera_http_request_duration_seconds'
  return {
    name,
    help: 'From the head of a request to its answer',
    type: 'histogram',
    values: () => {
      const values: MetricValue[] = []
      for (const { method, buckets, count, sumSeconds } of meter.durations()) {
        let below = 0
        for (const [i, bound] of DURATION_BUCKETS_SECONDS.entries()) {
          below += buckets[i]!
          values.push({ metricName: `${name}_bucket`, labels: { method, le: bound }, value: below })
        }
        values.push({ metricName: `${name}_bucket`, labels: { method, le: '+Inf' }, value: count })
        values.push({ metricName: `${name}_sum`, labels: { method }, value: sumSeconds })
        values.push({ metricName: `${name}_count`, labels: { method }, value: count })
      }
      return values
    },
  }
}
