import { Counter, collectDefaultMetrics, Histogram, type Metric, Registry } from 'prom-client'
import type { Gate } from './gate.js'
import { DURATION_BUCKETS_SECONDS, type RequestMeter } from './request-meter.js'

/**
 * What `/metrics` shows: the log's syncs as they happen, requests, the node's counters and the process.
 *
 * The number of series does not depend on the number of ranges or keys. Counters of requests and of the node are read
 * when somebody asks; only a sync of the log costs anything as it happens.
 */
export class ServerMetrics {
  readonly #registry = new Registry()
  readonly #gate: Gate
  readonly #fsyncs: Counter
  readonly #entries: Counter
  readonly #bytes: Counter
  readonly #fsyncSeconds: Histogram
  /** As of the last time somebody asked. */
  #nodeNumbers: Readonly<Record<string, unknown>> = {}

  constructor(gate: Gate, meter: RequestMeter) {
    this.#gate = gate
    const registers = [this.#registry]
    this.#fsyncs = new Counter({ name: 'cordillera_log_fsync_total', help: 'Syncs of the Raft log', registers })
    this.#entries = new Counter({
      name: 'cordillera_log_entries_total',
      help: 'Entries made durable in the Raft log, of all groups',
      registers,
    })
    this.#bytes = new Counter({ name: 'cordillera_log_bytes_total', help: 'Bytes written to the Raft log', registers })
    this.#fsyncSeconds = new Histogram({
      name: 'cordillera_log_fsync_duration_seconds',
      help: 'Duration of one write and sync of the Raft log',
      buckets: [0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5],
      registers,
    })
    this.#register(requestCounts(meter))
    this.#register(requestDurations(meter))
    collectDefaultMetrics({ register: this.#registry, eventLoopMonitoringPrecision: LOOP_SAMPLING_MS })
  }

  get contentType(): string {
    return this.#registry.contentType
  }

  /** To be called after each sync of the Raft log. */
  onLogSync(sample: LogSync): void {
    this.#fsyncs.inc()
    this.#entries.inc(sample.entries)
    this.#bytes.inc(sample.bytes)
    this.#fsyncSeconds.observe(sample.durationMs / 1000)
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

/** What a sync of the log tells; a part of the log's own sample. */
export interface LogSync {
  readonly durationMs: number
  readonly entries: number
  readonly bytes: number
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
