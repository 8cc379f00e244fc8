import autocannon from 'autocannon'
import { dealRequests, VALUE_BYTES } from './keys.mjs'
import { Latencies } from './latencies.mjs'

/**
 * The load generator, a process of its own for each measurement: the same code, as warm, whatever it is pointed at.
 *
 * It takes one job as a message, says `opened` and `closed` when the measured window begins and ends (whoever reads
 * counters reads them then), and answers with what happened in the window. Statuses, errors and short answers are
 * counted from the first request to the last.
 */
process.once('message', async (job) => {
  try {
    process.send({ kind: 'done', result: await (job.once ? requestEachOnce(job) : measure(job)) })
  } catch (error) {
    process.send({ kind: 'failed', detail: error.stack })
  }
  process.disconnect()
})

/** Every key once: what fills the cluster before reads. */
async function requestEachOnce(job) {
  const outcome = await autocannon({ ...options(job), amount: job.keys })
  return { errors: failures(outcome, 0), requests: outcome['2xx'] }
}

async function measure(job) {
  const latencies = new Latencies()
  let isOpen = false
  let short = 0
  const load = autocannon({ ...options(job), duration: 3600, sampleInt: 100 })
  load.on('response', (_client, status, bytes, ms) => {
    if (job.method === 'GET' && status === 200 && bytes < VALUE_BYTES) short++
    if (isOpen) latencies.record(ms)
  })
  await new Promise((resolve) => load.on('start', resolve))
  await pause(job.warmupSeconds)
  process.send({ kind: 'opened' })
  isOpen = true
  const startMs = performance.now()
  const cpu = process.cpuUsage()
  await pause(job.seconds)
  isOpen = false
  const seconds = (performance.now() - startMs) / 1000
  const { user, system } = process.cpuUsage(cpu)
  process.send({ kind: 'closed' })
  load.stop()
  return {
    seconds,
    requests: latencies.count,
    p50Ms: latencies.percentile(50),
    p99Ms: latencies.percentile(99),
    clientCpuSeconds: (user + system) / 1e6,
    errors: failures(await load, short),
  }
}

function options({ urls, method, kind, keys, connections, api }) {
  const shares = dealRequests({ method, kind, keys, connections, api })
  return {
    url: urls,
    connections,
    timeout: 10,
    setupClient: (client) => client.setRequests(shares.shift()),
  }
}

/** Whatever was not a whole, successful answer, by what it was. */
function failures({ errors, timeouts, non2xx, statusCodeStats }, short) {
  if (errors + timeouts + non2xx + short === 0) return {}
  return { errors, timeouts, non2xx, short, statuses: statusCodeStats }
}

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000))
