import { mkdir, readdir } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join, relative, resolve } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { CordilleraError } from '@cordillera/base'
import type { CommandIo } from './command-context.js'
import { DemoNode } from './demo-node.js'
import type { demoSettings } from './setting-values.js'
import type { SettingValues } from './settings.js'

/**
 * `cordillera demo`: a local cluster, one process a node, on durable directories; run again it is the same cluster.
 *
 * Node 1 founds it and the others join; on directories that have an identity the same flags change nothing. A node that
 * is killed is started again, so that one can try. SIGINT and SIGTERM stop all nodes, each draining, before this process
 * ends; should it be killed, the nodes notice and stop by themselves.
 */
const HOST = '127.0.0.1'
const NODES = 3
const DEFAULT_DATA = join('data', 'demo')
const READY_TIMEOUT_MS = 60_000
const READY_POLL_MS = 100

export async function runDemo(settings: SettingValues<typeof demoSettings>, io: CommandIo): Promise<void> {
  const root = resolve(settings.data ?? DEFAULT_DATA)
  const count = await nodeCount(root, settings.nodes)
  await checkPorts(settings.httpPort, settings.peerPort, count)
  await mkdir(root, { recursive: true })
  const firstPeer = `${HOST}:${settings.peerPort}`
  const nodes = Array.from({ length: count }, (_, i) => {
    const founding = i === 0 ? ['--init', '--initial-nodes', String(count)] : ['--join', firstPeer]
    return new DemoNode({
      number: i + 1,
      root,
      http: `${HOST}:${settings.httpPort + i}`,
      args: ['--peer', `${HOST}:${settings.peerPort + i}`, '--log-level', settings.logLevel, ...founding],
      environment: io.environment,
      say: (text) => io.out(`${text}\n`),
    })
  })
  const stopped = stopOnSignal(nodes, io)
  io.out(`Starting ${count} nodes in ${shown(root)} …\n`)
  for (const node of nodes) node.start()
  try {
    await Promise.race([Promise.all(nodes.map(untilReady)), stopped])
  } catch (error) {
    await Promise.all(nodes.map((node) => node.stop()))
    throw error
  }
  if (nodes.every((node) => node.isRunning)) io.out(welcome(nodes, root))
  await Promise.race([stopped, Promise.all(nodes.map((node) => node.ended))])
  await Promise.all(nodes.map((node) => node.stop()))
}

/** As many nodes as the directory was founded with; asking for another number is refused, not ignored. */
async function nodeCount(root: string, wanted: number | undefined): Promise<number> {
  const names = await readdir(root).catch(() => [])
  const found = names.filter((name) => /^node-\d+$/.test(name)).length
  if (found > 0 && wanted !== undefined && wanted !== found) {
    throw new CordilleraError('CONFIG_INVALID', {
      detail: `${shown(root)} holds a cluster of ${found} nodes: leave out --nodes, or use another --data`,
    })
  }
  return found > 0 ? found : (wanted ?? NODES)
}

async function checkPorts(httpPort: number, peerPort: number, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    await checkPort(httpPort + i, '--http-port')
    await checkPort(peerPort + i, '--peer-port')
  }
}

function checkPort(port: number, flag: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once('error', (cause: NodeJS.ErrnoException) => {
      const reason = cause.code === 'EADDRINUSE' ? 'is in use by another process' : `cannot be used (${cause.code})`
      const detail = `port ${port} ${reason}: stop that, or choose others with ${flag}`
      reject(new CordilleraError('CONFIG_INVALID', { detail, cause }))
    })
    probe.listen({ host: HOST, port, exclusive: true }, () => probe.close(() => resolve()))
  })
}

async function untilReady(node: DemoNode): Promise<void> {
  const deadlineMs = performance.now() + READY_TIMEOUT_MS
  while (performance.now() < deadlineMs) {
    if (node.failure !== undefined) throw node.failure
    const answer = await fetch(`http://${node.http}/readyz`).catch(() => undefined)
    await answer?.arrayBuffer().catch(() => undefined)
    if (answer?.status === 200) return node.onReady()
    await delay(READY_POLL_MS)
  }
  throw new CordilleraError('UNAVAILABLE', {
    detail: `node ${node.number} is not ready after ${READY_TIMEOUT_MS / 1000} s; see ${shown(node.logPath)}`,
  })
}

/** Resolves once every node has stopped after a signal; a second signal kills what is left. */
function stopOnSignal(nodes: readonly DemoNode[], io: CommandIo): Promise<void> {
  return new Promise((resolve) => {
    let isStopping = false
    const onSignal = (): void => {
      if (isStopping) {
        for (const node of nodes) node.kill()
        process.exit(1)
      }
      isStopping = true
      io.out('\nStopping …\n')
      void Promise.all(nodes.map((node) => node.stop())).then(() => resolve())
    }
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, onSignal)
  })
}

function welcome(nodes: readonly DemoNode[], root: string): string {
  const [first, second = first, third = second] = nodes.map((node) => `http://${node.http}`)
  const list = nodes.map(
    (node) => `  node ${node.number}  http://${node.http}  pid ${node.pid}  ${shown(node.logPath)}`,
  )
  return `
Ready. ${nodes.length} nodes, their data in ${shown(root)}:
${list.join('\n')}

Try:
  curl -X PUT --data-binary 'world' ${first}/v1/kv/hello
  curl ${second}/v1/kv/hello
  curl '${third}/v1/kv?prefix=h'
  curl ${first}/v1/admin/cluster

Kill a node (kill -9 ${nodes.at(-1)?.pid}) and ask again: it is started anew after a moment. Ctrl-C stops all.
`
}

function shown(path: string): string {
  const short = relative(process.cwd(), path)
  return short === '' || short.startsWith('..') ? path : short
}
