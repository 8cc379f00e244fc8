// @ts-check
import { spawn } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'

/**
 * Real nodes for tests and benchmarks: one process each, started through the built command line, on loopback, with
 * their data and output in one directory.
 *
 * No process outlives the one that started it: each has a channel to it, and drains when that closes; a regular exit
 * kills what is left. Nothing here looks inside of a node: only its HTTP API, its output and what the kernel tells.
 */

/** The built command. */
export const bin = fileURLToPath(new URL('../packages/cordillera/dist/bin.js', import.meta.url))

/** @type {Set<import('node:child_process').ChildProcess>} */
const running = new Set()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/** Ticks of `/proc/PID/stat` in a second (`getconf CLK_TCK`; 100 on every Linux that Node.js runs on). */
const PROC_TICKS_PER_SECOND = 100
const START_TIMEOUT_MS = 30_000

/**
 * @typedef {{ code: number | null, signal: NodeJS.Signals | null }} Exit
 * @typedef {{ name: string, directory: string, httpPort: number, peerPort: number, flags?: readonly string[],
 *   runtimeFlags?: readonly string[] }} NodeOptions
 */

/** One node: its place (directory, ports, flags) and, while it runs, its process. It can be started again and again. */
export class NodeProcess {
  /** @param {NodeOptions} options `flags` are given at every start, `runtimeFlags` to Node.js itself. */
  constructor({ name, directory, httpPort, peerPort, flags = [], runtimeFlags = [] }) {
    this.name = name
    this.dataPath = join(directory, name)
    this.logPath = join(directory, `${name}.log`)
    this.httpAddress = `127.0.0.1:${httpPort}`
    this.peerAddress = `127.0.0.1:${peerPort}`
    this.url = `http://${this.httpAddress}`
    this.flags = flags
    this.runtimeFlags = runtimeFlags
    /** @type {import('node:child_process').ChildProcess | undefined} */
    this.child = undefined
    /** How its latest process ended. @type {Promise<Exit>} */
    this.exited = Promise.resolve({ code: null, signal: null })
    mkdirSync(directory, { recursive: true })
  }

  get isRunning() {
    return this.child !== undefined
  }

  /** The process id. Throws when it does not run. */
  get pid() {
    const pid = this.child?.pid
    if (pid === undefined) throw new Error(`${this.name} does not run\n${this.log()}`)
    return pid
  }

  /** Starts the process; see {@link waitUntilReady}. @param {readonly string[]} [flags] */
  start(flags = this.flags) {
    if (this.child !== undefined) throw new Error(`${this.name} runs already`)
    const addresses = ['--http', this.httpAddress, '--peer', this.peerAddress]
    const output = openSync(this.logPath, 'a')
    const command = [bin, 'start', '--data', this.dataPath, ...addresses, ...flags]
    const child = spawn(process.execPath, [...this.runtimeFlags, ...command], {
      stdio: ['ignore', output, output, 'ipc'],
      env: nodeEnvironment(),
    })
    closeSync(output)
    running.add(child)
    this.child = child
    this.exited = new Promise((resolve) => {
      child.once('exit', (code, signal) => {
        running.delete(child)
        if (this.child === child) this.child = undefined
        resolve({ code, signal })
      })
    })
    child.unref()
    child.channel?.unref()
  }

  /** Sends a signal and waits for the end. @param {NodeJS.Signals} signal @returns {Promise<Exit>} */
  end(signal) {
    const { child, exited } = this
    // Whoever waits for the end must not end before it, for want of anything else to do.
    child?.ref()
    child?.kill(signal)
    return exited
  }

  /** Ends it without a warning. */
  kill() {
    return this.end('SIGKILL')
  }

  /** Lets it drain. */
  stop() {
    return this.end('SIGTERM')
  }

  /** Resolves once the node says that it can serve. Throws with its output when it ends or takes too long. */
  async waitUntilReady(timeoutMs = START_TIMEOUT_MS) {
    const deadlineMs = performance.now() + timeoutMs
    while (!(await this.isReady())) {
      if (!this.isRunning) throw new Error(`${this.name} ended while it started\n${this.log()}`)
      if (performance.now() > deadlineMs) throw new Error(`${this.name} is not ready in ${timeoutMs} ms\n${this.log()}`)
      await pause(20)
    }
  }

  /** Whether `/readyz` says yes. */
  async isReady() {
    try {
      const response = await fetch(`${this.url}/readyz`, { signal: AbortSignal.timeout(2_000) })
      await response.arrayBuffer()
      return response.status === 200
    } catch {
      return false
    }
  }

  /** The parsed body of an admin endpoint. @param {string} path @returns {Promise<any>} */
  async json(path) {
    const response = await fetch(this.url + path, { signal: AbortSignal.timeout(10_000) })
    if (!response.ok) throw new Error(`${path} of ${this.name}: ${response.status} ${await response.text()}`)
    return response.json()
  }

  /** Its id in the cluster; the order in which nodes are founded is not that in which they were laid out. */
  async nodeId() {
    const { nodes } = await this.json('/v1/admin/nodes')
    /** @type {{ nodeId: number, httpAddress: string } | undefined} */
    const self = nodes.find((/** @type {{ httpAddress: string }} */ node) => node.httpAddress === this.httpAddress)
    if (self === undefined) throw new Error(`${this.name} is no member`)
    return self.nodeId
  }

  /** The node's `/metrics` that have no labels, by name. @returns {Promise<Map<string, number>>} */
  async metrics() {
    const response = await fetch(`${this.url}/metrics`, { signal: AbortSignal.timeout(10_000) })
    return parseMetrics(await response.text())
  }

  /** Seconds of CPU, user and system, that the process has used so far. Linux only. */
  cpuSeconds() {
    return cpuSecondsOf(this.pid)
  }

  /** The last lines of its output, of all its processes. */
  log(lines = 30) {
    try {
      return readFileSync(this.logPath, 'utf8').split('\n').slice(-lines).join('\n')
    } catch {
      return ''
    }
  }
}

/** Nodes that found one cluster: the first with `--init`, the others with `--join`. */
export class LocalCluster {
  /** @param {NodeProcess[]} nodes */
  constructor(nodes) {
    this.nodes = nodes
  }

  /**
   * Lays out a cluster below `directory`; nothing runs yet.
   *
   * @param {{ directory: string, nodes?: number, initialRanges?: number, flags?: readonly string[],
   *   runtimeFlags?: readonly string[] }} options
   */
  static async create({ directory, nodes: count = 3, initialRanges = 16, flags = [], runtimeFlags = [] }) {
    const ports = await freePorts(2 * count)
    const founder = `127.0.0.1:${ports[1]}`
    const nodes = Array.from({ length: count }, (_, i) => {
      const founding =
        i === 0
          ? ['--init', '--initial-nodes', `${count}`, '--initial-ranges', `${initialRanges}`]
          : ['--join', founder]
      const [httpPort, peerPort] = ports.slice(2 * i)
      if (httpPort === undefined || peerPort === undefined) throw new Error('too few ports')
      const place = { name: `node-${i + 1}`, directory, httpPort, peerPort }
      return new NodeProcess({ ...place, flags: [...founding, ...flags], runtimeFlags })
    })
    return new LocalCluster(nodes)
  }

  /** Starts every node that does not run, and waits until all are ready. */
  async start() {
    for (const node of this.nodes) if (!node.isRunning) node.start()
    await this.waitUntilReady()
  }

  /** @param {number} [timeoutMs] */
  async waitUntilReady(timeoutMs) {
    await Promise.all(this.nodes.map((node) => node.waitUntilReady(timeoutMs)))
  }

  /** Kills what still runs. */
  async close() {
    await Promise.all(this.nodes.map((node) => node.kill()))
  }
}

/**
 * Ports on loopback that nobody listens at, below the range from which the kernel picks ports for outgoing connections:
 * a port that is free stays free while a node is down.
 *
 * @param {number} count
 * @returns {Promise<number[]>}
 */
export async function freePorts(count) {
  /** @type {number[]} */
  const ports = []
  let candidate = FIRST_PORT + Math.floor(Math.random() * (LAST_PORT - FIRST_PORT))
  for (let tries = 0; ports.length < count && tries < LAST_PORT - FIRST_PORT; tries++) {
    if (await isFree(candidate)) ports.push(candidate)
    candidate = candidate === LAST_PORT ? FIRST_PORT : candidate + 1
  }
  if (ports.length < count) throw new Error(`no ${count} free ports from ${FIRST_PORT} to ${LAST_PORT}`)
  return ports
}

const FIRST_PORT = 18_000
const LAST_PORT = 31_999

/** @param {number} port @returns {Promise<boolean>} */
function isFree(port) {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen({ host: '127.0.0.1', port, exclusive: true }, () => server.close(() => resolve(true)))
  })
}

/** Seconds of CPU, user and system, that a process has used so far. Linux only. @param {number} pid */
export function cpuSecondsOf(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  // The second field is the program's name in parentheses; it may hold blanks.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / PROC_TICKS_PER_SECOND
}

/** Settings come from flags alone, not from the environment of whoever runs this. */
function nodeEnvironment() {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('CORDILLERA_')))
}

/** @param {string} text @returns {Map<string, number>} */
export function parseMetrics(text) {
  const metrics = new Map()
  for (const [, name, value] of text.matchAll(/^([a-z_][a-z0-9_]*) ([0-9.eE+-]+)$/gm)) metrics.set(name, Number(value))
  return metrics
}
