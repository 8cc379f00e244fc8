import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'

/**
 * One measurement: a load generator of its own against one target, and what the nodes did meanwhile, read when the
 * measured window opens and when it closes.
 */
const LOAD = fileURLToPath(new URL('load.mjs', import.meta.url))

/**
 * @param job for `load.mjs`
 * @param servers what works on the requests: `cpuSeconds()`, and `metrics()` where there is a log
 * @param onWindow hears `opened` and `closed`
 */
export async function measure(job, servers, onWindow = () => {}) {
  let before
  let after
  const result = await runLoad(job, (kind) => {
    onWindow(kind)
    const counters = readCounters(servers)
    if (kind === 'opened') before = counters
    else after = counters
  })
  return figuresOf(job, result, await before, await after)
}

/** Writes every key once. Throws when one was not written. */
export async function fill(job) {
  const { errors, requests } = await runLoad({ ...job, method: 'PUT', once: true }, () => {})
  if (requests === job.keys && Object.keys(errors).length === 0) return
  throw new Error(`only ${requests} of ${job.keys} keys were written: ${JSON.stringify(errors)}`)
}

function runLoad(job, onWindow) {
  return new Promise((resolve, reject) => {
    const child = fork(LOAD)
    child.on('message', ({ kind, result, detail }) => {
      if (kind === 'done') resolve(result)
      else if (kind === 'failed') reject(new Error(detail))
      else onWindow(kind)
    })
    child.once('error', reject)
    child.once('exit', (code) => reject(new Error(`the load generator ended with ${code}`)))
    child.send(job)
  })
}

async function readCounters(servers) {
  const cpuSeconds = servers.reduce((sum, server) => sum + server.cpuSeconds(), 0)
  const logs = await Promise.all(servers.filter((server) => server.metrics !== undefined).map((one) => one.metrics()))
  const total = (name) => logs.reduce((sum, metrics) => sum + (metrics.get(name) ?? Number.NaN), 0)
  return {
    cpuSeconds,
    nodes: logs.length,
    syncs: total('cordillera_log_fsync_total'),
    entries: total('cordillera_log_entries_total'),
  }
}

function figuresOf({ method }, result, before, after) {
  const { requests, seconds, p50Ms, p99Ms, clientCpuSeconds, errors } = result
  const figures = {
    requestsPerSec: requests / seconds,
    p50Ms,
    p99Ms,
    cpuMicrosPerRequest: ((after.cpuSeconds - before.cpuSeconds) / requests) * 1e6,
    clientCpuMicrosPerRequest: (clientCpuSeconds / requests) * 1e6,
    errors,
  }
  if (after.nodes === 0 || method !== 'PUT') return figures
  const syncs = after.syncs - before.syncs
  return {
    ...figures,
    entriesPerSync: (after.entries - before.entries) / syncs,
    writesPerSync: (requests * after.nodes) / syncs,
  }
}
