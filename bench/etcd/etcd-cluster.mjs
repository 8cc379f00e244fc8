import { execFileSync, spawn } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { cpuSecondsOf, freePorts } from '../../tools/local-cluster.mjs'

/** etcd's version, or undefined where it is not installed (Debian: `etcd-server`). */
export function etcdVersion() {
  try {
    return /etcd Version: (\S+)/.exec(execFileSync('etcd', ['--version']).toString())?.[1]
  } catch {
    return undefined
  }
}

const START_TIMEOUT_MS = 30_000

/** Three nodes of etcd on loopback, with its own defaults: every write is synced on a majority, reads are linearizable. */
export class EtcdCluster {
  constructor(nodes) {
    /** `name`, `url` and `cpuSeconds()` of each; the leader is the first once {@link start} has resolved. */
    this.nodes = nodes
  }

  static async create({ directory, nodes: count = 3 }) {
    const ports = await freePorts(2 * count)
    const place = (i) => ({
      name: `etcd-${i + 1}`,
      url: `http://127.0.0.1:${ports[2 * i]}`,
      peerUrl: `http://127.0.0.1:${ports[2 * i + 1]}`,
    })
    const places = Array.from({ length: count }, (_, i) => place(i))
    const initial = places.map(({ name, peerUrl }) => `${name}=${peerUrl}`).join(',')
    return new EtcdCluster(places.map((one) => new EtcdProcess(one, directory, initial)))
  }

  async start() {
    for (const node of this.nodes) node.start()
    const deadlineMs = performance.now() + START_TIMEOUT_MS
    for (;;) {
      const statuses = await Promise.all(this.nodes.map((node) => node.status()))
      const leader = this.nodes.findIndex((_, i) => statuses[i] !== undefined && leads(statuses[i]))
      if (leader !== -1 && statuses.every((status) => status !== undefined)) {
        this.nodes = [...this.nodes.slice(leader), ...this.nodes.slice(0, leader)]
        return
      }
      if (performance.now() > deadlineMs) throw new Error(`etcd does not start\n${this.nodes[0].log()}`)
      await pause(100)
    }
  }

  close() {
    return Promise.all(this.nodes.map((node) => node.kill()))
  }
}

function leads({ header, leader }) {
  return leader !== undefined && header.member_id === leader
}

class EtcdProcess {
  #child

  constructor({ name, url, peerUrl }, directory, initialCluster) {
    this.name = name
    this.url = url
    this.logPath = join(directory, `${name}.log`)
    this.flags = {
      name,
      'data-dir': join(directory, name),
      'listen-client-urls': url,
      'advertise-client-urls': url,
      'listen-peer-urls': peerUrl,
      'initial-advertise-peer-urls': peerUrl,
      'initial-cluster': initialCluster,
      'initial-cluster-state': 'new',
    }
  }

  start() {
    const output = openSync(this.logPath, 'a')
    const flags = Object.entries(this.flags).flatMap(([flag, value]) => [`--${flag}`, value])
    this.#child = spawn('etcd', flags, { stdio: ['ignore', output, output] })
    closeSync(output)
    process.once('exit', () => this.#child.kill('SIGKILL'))
  }

  async status() {
    try {
      const options = { method: 'POST', body: '{}', signal: AbortSignal.timeout(2_000) }
      const response = await fetch(`${this.url}/v3/maintenance/status`, options)
      return response.ok ? await response.json() : undefined
    } catch {
      return undefined
    }
  }

  cpuSeconds() {
    return cpuSecondsOf(this.#child.pid)
  }

  log() {
    return readFileSync(this.logPath, 'utf8').slice(-2_000)
  }

  kill() {
    return new Promise((resolve) => {
      this.#child.once('exit', resolve)
      this.#child.kill('SIGKILL')
    })
  }
}
