// @ts-check
import { spawn, spawnSync } from 'node:child_process'
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, rmSync, statfsSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'

/**
 * Faults of real disks, for processes that know nothing of it: system calls on a store's log that fail or take long, by
 * `strace`, and file systems that are small enough to fill up. Each says what is missing where it cannot be had.
 */

/** Calls with which the log is written and synced. */
const CALLS = 'pwrite64,pwritev,fdatasync,fsync'

/** Why `strace` cannot do its work here; undefined when it can. @returns {Promise<string | undefined>} */
export async function whyNoTracing() {
  if (process.platform !== 'linux') return 'strace is for Linux'
  if (spawnSync('strace', ['-V']).status !== 0) return 'strace is not installed (apt-get install strace)'
  const target = spawn('sleep', ['30'], { stdio: 'ignore' })
  try {
    const { refused, end } = attach(target.pid ?? 0, ['-e', 'trace=none'])
    const why = await Promise.race([refused, pause(500)])
    await end()
    return why === undefined ? undefined : `strace may not attach to a process: ${why}`
  } finally {
    target.kill('SIGKILL')
  }
}

/**
 * Makes calls on the files of a node's log fail or wait, until `end()`.
 *
 * @param {import('./local-cluster.mjs').NodeProcess} node
 * @param {string} what as `strace` has it: `error=EIO`, `delay_enter=MICROSECONDS`
 * @returns {Promise<{ end: () => Promise<void> }>}
 */
export async function injectIntoLog(node, what) {
  const log = join(node.dataPath, 'log')
  const files = readdirSync(log).flatMap((name) => ['-P', join(log, name)])
  const { refused, end } = attach(node.pid, [...files, '-e', `trace=${CALLS}`, '-e', `inject=${CALLS}:${what}`])
  const why = await Promise.race([refused, pause(300)])
  if (why !== undefined) throw new Error(`strace: ${why}`)
  return { end }
}

/** @param {number} pid @param {readonly string[]} options */
function attach(pid, options) {
  const child = spawn('strace', ['-f', '-qq', '-o', '/dev/null', '-p', String(pid), ...options], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let said = ''
  child.stderr.on('data', (bytes) => {
    said += bytes
  })
  const exited = new Promise((resolve) => child.once('exit', resolve))
  /** With what it ended by itself, within a moment of its beginning. */
  const refused = exited.then((code) => (code === 0 ? undefined : said.trim().replaceAll('\n', '; ')))
  const end = async () => {
    // It detaches, and the process goes on without it.
    child.kill('SIGINT')
    // Not while it holds a thread that was killed meanwhile.
    if ((await Promise.race([exited.then(() => true), pause(2_000)])) !== true) child.kill('SIGKILL')
    await exited
  }
  return { refused, end }
}

/** A small file system in memory, at `path`, until it is unmounted. */
export class SmallDisk {
  /** @param {string} path @param {number} mebibytes */
  constructor(path, mebibytes) {
    this.path = path
    mkdirSync(path, { recursive: true })
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${mebibytes}m,mode=0750`, 'tmpfs', path])
    if (mounted.status !== 0) throw new Error(String(mounted.stderr).trim() || 'mount is not installed')
  }

  /** Why there can be none here; undefined when there can. @param {string} scratch @returns {string | undefined} */
  static whyNone(scratch) {
    if (process.platform !== 'linux') return 'small file systems are mounted on Linux only'
    try {
      new SmallDisk(join(scratch, 'probe'), 1).unmount()
      return undefined
    } catch (error) {
      return `no file system can be mounted: ${error instanceof Error ? error.message : error} (needs CAP_SYS_ADMIN)`
    }
  }

  get freeBytes() {
    const { bavail, bsize } = statfsSync(this.path)
    return bavail * bsize
  }

  /** Fills it up until so much is left. @param {number} leftBytes */
  fill(leftBytes) {
    const file = openSync(join(this.path, 'ballast'), 'a')
    try {
      const chunk = Buffer.alloc(1 << 20)
      for (let left = this.freeBytes - leftBytes; left > 0; left = this.freeBytes - leftBytes) {
        writeSync(file, chunk, 0, Math.min(chunk.length, left))
      }
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) throw error
    } finally {
      closeSync(file)
    }
  }

  /** Gives back what {@link fill} took. */
  empty() {
    rmSync(join(this.path, 'ballast'), { force: true })
  }

  unmount() {
    if (existsSync(this.path)) spawnSync('umount', ['-l', this.path])
  }
}
