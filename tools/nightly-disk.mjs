// @ts-check
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { injectIntoLog, SmallDisk, whyNoTracing } from './disk-faults.mjs'
import { LocalCluster } from './local-cluster.mjs'

/**
 * Rows 22 to 26 of the list of failures on real processes and real system calls: an fsync that fails, one that stalls, disks
 * that are slow, disks that are full, logs that rot, and old images.
 *
 * `node tools/nightly-disk.mjs [ROW…]` after a build; some rows take a minute. What cannot be done here is named, with the
 * reason, and does not count as a failure; with `--strict` it does.
 */

const MIB = 1 << 20
const RESERVE_MIB = 64
/** Two segments of a log are 128 MiB. */
const DISK_MIB = 320

/** @type {string[]} */
const failures = []
/** @type {string[]} */
const skipped = []
const rows = process.argv.slice(2).filter((argument) => /^\d+$/.test(argument))
const scratch = mkdtempSync(join(tmpdir(), 'cordillera-disk-'))

/** A cluster, what was acknowledged to its client, and checks in plain words. */
class Trial {
  /** @param {LocalCluster} cluster @param {readonly SmallDisk[]} disks */
  constructor(cluster, disks) {
    this.cluster = cluster
    this.nodes = cluster.nodes
    this.disks = disks
    /** @type {Map<string, string>} */
    this.acknowledged = new Map()
    this.written = 0
  }

  /** @param {string} name @param {{ small?: boolean }} [options] */
  static async begin(name, { small = false } = {}) {
    const directory = join(scratch, name)
    mkdirSync(directory)
    const disks = small ? [1, 2, 3].map((i) => new SmallDisk(join(directory, `node-${i}`), DISK_MIB)) : []
    const flags = ['--disk-reserve-mib', String(small ? RESERVE_MIB : 1)]
    const cluster = await LocalCluster.create({ directory, nodes: 3, initialRanges: 12, flags })
    const trial = new Trial(cluster, disks)
    await cluster.start()
    await trial.until(async () => (await trial.leaders()).every((count) => count > 0), 30_000, 'leaders everywhere')
    return trial
  }

  async end() {
    await this.cluster.close()
    for (const disk of this.disks) disk.unmount()
  }

  /** Writes a key of each sixteenth of the key space through a node. @param {number} through */
  async put(through) {
    const results = []
    for (let i = 0; i < 16; i++) results.push(await this.putOne(through, `${i.toString(16)}-${this.written++ % 50}`))
    return {
      statuses: new Set(results.map(({ status }) => status)),
      slowestMs: Math.max(...results.map(({ ms }) => ms)),
    }
  }

  /** @param {number} through @param {string} key */
  async putOne(through, key) {
    const value = `${key} ${performance.now()}`
    const began = performance.now()
    const { status } = await this.request(through, 'PUT', key, value)
    if (status === 204) this.acknowledged.set(key, value)
    // It may have taken effect, or may still.
    else if (status !== 507 && status !== 503) this.acknowledged.delete(key)
    return { status, ms: performance.now() - began }
  }

  /** @param {number} through @param {string} method @param {string} key @param {string} [body] */
  async request(through, method, key, body) {
    const url = `${this.nodes[through]?.url}/v1/kv/${key}`
    try {
      const response = await fetch(url, { method, ...(body && { body }), signal: AbortSignal.timeout(8_000) })
      return { status: response.status, text: await response.text() }
    } catch (error) {
      return { status: 0, text: String(error) }
    }
  }

  /** Leaderships by place; of a node that is not there, 0. */
  async leaders() {
    const asked = this.nodes.map(async (node) => {
      try {
        return (await node.metrics()).get('cordillera_leaders') ?? 0
      } catch {
        return 0
      }
    })
    return Promise.all(asked)
  }

  /** @param {() => Promise<boolean> | boolean} holds @param {number} ms @param {string} what */
  async until(holds, ms, what) {
    const deadline = performance.now() + ms
    while (!(await holds())) {
      if (performance.now() > deadline) throw new Error(`not within ${ms} ms: ${what}`)
      await pause(100)
    }
  }

  /** @param {number} at */
  leadsNothing(at, ms = 5_000) {
    return this.until(async () => (await this.leaders())[at] === 0, ms, `node ${at + 1} gives up its leaderships`)
  }

  /** @param {number} at */
  leadsAgain(at, ms = 60_000) {
    return this.until(async () => ((await this.leaders())[at] ?? 0) > 0, ms, `node ${at + 1} leads again`)
  }

  /** How a node's process ends. @param {import('./local-cluster.mjs').NodeProcess} node */
  async endOf(node) {
    const { exited } = node
    await this.until(() => !node.isRunning, 30_000, `${node.name} ends`)
    return exited
  }

  /** Everything that was acknowledged, through every node. */
  async checkAcknowledged() {
    await this.cluster.waitUntilReady(60_000)
    for (const [key, value] of this.acknowledged) {
      for (const through of this.nodes.keys()) {
        const { status, text } = await this.request(through, 'GET', key)
        expect(status === 200 && text === value, `${key} is ${status} ${text}, acknowledged was ${value}`)
      }
    }
    return `${this.acknowledged.size} acknowledged values are there`
  }
}

/** @param {boolean} holds @param {string} what */
function expect(holds, what) {
  if (!holds) throw new Error(what)
}

/** @param {{ statuses: Set<number>, slowestMs: number }} result @param {number} status @param {number} ms */
function expectAll({ statuses, slowestMs }, status, ms) {
  expect(statuses.size === 1 && statuses.has(status), `answers ${[...statuses].join(', ')}, not ${status}`)
  expect(slowestMs < ms, `an answer took ${Math.round(slowestMs)} ms, not less than ${ms}`)
}

/** @param {Trial} trial */
async function failedSync(trial) {
  expectAll(await trial.put(0), 204, 3_000)
  const victim = trial.nodes[1]
  if (victim === undefined) throw new Error('three nodes')
  const fault = await injectIntoLog(victim, 'error=EIO')
  await trial.put(0)
  const { code } = await trial.endOf(victim)
  await fault.end()
  expect(code === 1, `the process ended with ${code}`)
  expect(victim.log(200).includes('DISK_FAILED'), 'it says DISK_FAILED')
  await trial.until(async () => (await trial.putOne(0, '0')).status === 204, 10_000, 'the others go on')
  await trial.until(async () => (await trial.put(2)).statuses.size === 1, 10_000, 'every range goes on')
  victim.start()
  return trial.checkAcknowledged()
}

/** @param {Trial} trial */
async function stalledSync(trial) {
  const victim = trial.nodes[2]
  if (victim === undefined) throw new Error('three nodes')
  const fault = await injectIntoLog(victim, 'delay_enter=90000000')
  const stalledAt = performance.now()
  const first = await trial.put(0)
  expectAll(first, 204, 3_000)
  await trial.leadsNothing(2)
  const gaveUpMs = performance.now() - stalledAt
  let slowestMs = 0
  const hasStopped = () => victim.log(50).includes('store-failed')
  while (!hasStopped() && performance.now() - stalledAt < 60_000) {
    const result = await trial.put(0)
    expectAll(result, 204, 2_000)
    slowestMs = Math.max(slowestMs, result.slowestMs)
    await pause(500)
  }
  const stoppedMs = performance.now() - stalledAt
  expect(hasStopped(), 'it stops itself')
  await trial.until(async () => (await trial.request(2, 'GET', '0')).status === 0, 2_000, 'its connections are gone')
  // A thread that the tracer holds in a call ends no sooner than one that the disk does.
  await fault.end()
  const { signal } = await trial.endOf(victim)
  expect(signal === 'SIGKILL', `it ended by ${signal}`)
  victim.start()
  await trial.checkAcknowledged()
  return `slowest write ${Math.round(first.slowestMs)} ms at first, ${Math.round(slowestMs)} ms then; without leaderships after ${Math.round(gaveUpMs)} ms, stopped after ${Math.round(stoppedMs)} ms`
}

/** @param {Trial} trial */
async function slowSyncs(trial) {
  const victim = trial.nodes[1]
  if (victim === undefined) throw new Error('three nodes')
  const fault = await injectIntoLog(victim, 'delay_exit=400000')
  const beganAt = performance.now()
  let gaveUpMs = 0
  while (gaveUpMs === 0) {
    await trial.put(0)
    if ((await trial.leaders())[1] === 0) gaveUpMs = performance.now() - beganAt
    expect(performance.now() - beganAt < 40_000, 'it gives up its leaderships')
  }
  const result = await trial.put(2)
  await fault.end()
  expectAll(result, 204, 1_000)
  await trial.leadsAgain(1)
  await trial.checkAcknowledged()
  return `without leaderships after ${Math.round(gaveUpMs)} ms; slowest write then ${Math.round(result.slowestMs)} ms`
}

/** @param {Trial} trial */
async function fullDisks(trial) {
  const [first, second, third] = trial.disks
  if (first === undefined || second === undefined || third === undefined) throw new Error('three disks')
  expectAll(await trial.put(0), 204, 3_000)
  second.fill((RESERVE_MIB / 2) * MIB)
  await trial.leadsNothing(1)
  expectAll(await trial.put(1), 204, 2_000)

  third.fill((RESERVE_MIB / 2) * MIB)
  await trial.until(async () => (await trial.putOne(0, '0')).status === 507, 5_000, 'values are refused')
  await pause(1_000)
  for (const through of [0, 1, 2]) expectAll(await trial.put(through), 507, 500)
  for (const [key, value] of [...trial.acknowledged].slice(0, 8)) {
    expect((await trial.request(1, 'GET', key)).text === value, 'reads go on')
  }
  const [gone] = trial.acknowledged.keys()
  trial.acknowledged.delete(gone ?? '')
  expect((await trial.request(2, 'DELETE', gone ?? '')).status === 204, 'deletes go on')
  const health = String((await trial.nodes[0]?.json('/v1/admin/cluster'))?.health)
  expect(health.includes('nearly full'), `the cluster says: ${health}`)

  second.empty()
  third.empty()
  const emptiedAt = performance.now()
  await trial.until(async () => (await trial.put(0)).statuses.has(204), 10_000, 'values are taken again')
  const recoveredMs = performance.now() - emptiedAt
  expect(
    trial.nodes.every(({ isRunning }) => isRunning),
    'nobody stopped',
  )
  await trial.checkAcknowledged()
  return `taken again ${Math.round(recoveredMs)} ms after there was room`
}

/**
 * No room at all, while clients go on, everywhere; whoever stops for it is started once there is some.
 *
 * @param {Trial} trial
 */
async function noRoomAtAll(trial) {
  expectAll(await trial.put(0), 204, 3_000)
  for (const disk of trial.disks) disk.fill(0)
  const fullAt = performance.now()
  while (performance.now() - fullAt < 40_000) {
    await trial.put(Math.floor(performance.now()) % 3)
    await pause(200)
  }
  const stopped = trial.nodes.filter(({ isRunning }) => !isRunning)
  for (const disk of trial.disks) disk.empty()
  for (const node of stopped) node.start()
  await trial.cluster.waitUntilReady(60_000)
  await trial.until(async () => (await trial.put(1)).statuses.has(204), 10_000, 'values are taken again')
  return `${stopped.length} nodes stopped; ${await trial.checkAcknowledged()}`
}

/** @param {string} row @param {string} name @param {string | undefined} why @param {() => Promise<string>} run */
async function row(row, name, why, run) {
  if (rows.length > 0 && !rows.includes(row)) return
  if (why !== undefined) {
    skipped.push(row)
    console.log(`skip ${row} ${name}: ${why}`)
    return
  }
  const began = performance.now()
  try {
    const said = await run()
    console.log(`pass ${row} ${name}, ${Math.round((performance.now() - began) / 1_000)} s: ${said}`)
  } catch (error) {
    failures.push(row)
    console.log(`FAIL ${row} ${name}: ${error instanceof Error ? error.stack : error}`)
  }
}

/** @param {string} name @param {{ small?: boolean }} options @param {(trial: Trial) => Promise<string>} act */
async function withCluster(name, options, act) {
  const trial = await Trial.begin(name, options)
  try {
    return await act(trial)
  } catch (error) {
    for (const node of trial.nodes) console.log(`--- ${node.name}\n${node.log(15)}`)
    throw error
  } finally {
    await trial.end()
  }
}

/** Tests of processes that are about the row, on the real disk here. @param {string} file @param {string} name */
async function processTest(file, name) {
  const command = ['--no-install', 'vitest', 'run', '--config', 'tools/vitest.process.config.mjs', file, '-t', name]
  const { status, stdout, stderr } = spawnSync('npx', command, { encoding: 'utf8', timeout: 300_000 })
  expect(status === 0 && / passed/.test(stdout), `${stdout}${stderr}`)
  return `${file} passes`
}

const noTracing = await whyNoTracing()
const noSmallDisks = SmallDisk.whyNone(scratch)
try {
  await row('22', 'a sync fails', noTracing, () => withCluster('failed', {}, failedSync))
  await row('23', 'a sync stalls', noTracing, () => withCluster('stalled', {}, stalledSync))
  await row('23', 'syncs are slow', noTracing, () => withCluster('slow', {}, slowSyncs))
  await row('24', 'disks are nearly full', noSmallDisks, () => withCluster('full', { small: true }, fullDisks))
  await row('24', 'disks are full', noSmallDisks, () => withCluster('out', { small: true }, noRoomAtAll))
  await row('25', 'a log rots', undefined, () => processTest('test/repair.test.ts', 'damaged'))
  await row('26', 'an old image', undefined, () => processTest('test/directory.test.ts', 'older'))
} finally {
  rmSync(scratch, { recursive: true, force: true })
}
if (skipped.length > 0) console.log(`not run here: rows ${[...new Set(skipped)].join(', ')}`)
process.exit(failures.length > 0 || (skipped.length > 0 && process.argv.includes('--strict')) ? 1 : 0)
