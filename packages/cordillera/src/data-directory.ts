import { access, mkdir, readFile, rename, unlink, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { CordilleraError } from '@cordillera/base'
import type { Disk } from '@cordillera/raft-log'
import type { StateEngine } from '@cordillera/state'
import { NodeDisk } from './node-disk.js'

/**
 * A node's data directory: `state/` (the state database), `log/` (segments of the Raft log), the identity's files, and
 * `run/owner.json`, which tells people which process uses it.
 *
 * Exclusivity comes from the state database's own lock, which the kernel releases with the process, however it ends.
 * The owner file is written after the lock is taken; it informs and decides nothing.
 */
export class DataDirectory {
  readonly identityDisk: Disk
  readonly logDisk: Disk
  readonly engine: StateEngine
  readonly #path: string

  private constructor(path: string, engine: StateEngine, identityDisk: Disk, logDisk: Disk) {
    this.#path = path
    this.engine = engine
    this.identityDisk = identityDisk
    this.logDisk = logDisk
  }

  /**
   * Makes the directory where it is missing, and takes it. Throws DIRECTORY_IN_USE with the process that has it, or
   * DIRECTORY_INVALID when it cannot be used.
   */
  static async take(path: string, owner: OwnerAddresses, openEngine: OpenEngine): Promise<DataDirectory> {
    try {
      const identityDisk = await NodeDisk.open(path)
      const logDisk = await NodeDisk.open(join(path, LOG))
      const engine = await openEngine(join(path, STATE))
      await writeOwner(path, owner)
      await identityDisk.syncDirectory()
      return new DataDirectory(path, engine, identityDisk, logDisk)
    } catch (error) {
      throw await refusal(path, error)
    }
  }

  /** Whether somebody has taken the directory before. */
  static async exists(path: string): Promise<boolean> {
    return access(join(path, STATE)).then(
      () => true,
      () => false,
    )
  }

  /** Forgets who used it. The lock goes with the engine. */
  async release(): Promise<void> {
    await unlink(join(this.#path, RUN, OWNER)).catch(() => {})
  }
}

export type OpenEngine = (path: string) => Promise<StateEngine>

/** For people who are refused. Both are empty where nothing listens. */
export interface OwnerAddresses {
  readonly http: string
  readonly peer: string
}

interface Owner extends OwnerAddresses {
  readonly pid: number
  readonly host: string
  readonly started: string
}

const LOG = 'log'
const STATE = 'state'
/** In a directory of its own, so that it is not taken for one of the identity's files. */
const RUN = 'run'
const OWNER = 'owner.json'

async function writeOwner(path: string, addresses: OwnerAddresses): Promise<void> {
  await mkdir(join(path, RUN), { recursive: true, mode: 0o750 })
  const owner: Owner = { pid: process.pid, host: hostname(), started: new Date().toISOString(), ...addresses }
  await writeFile(join(path, RUN, `${OWNER}.new`), `${JSON.stringify(owner)}\n`)
  await rename(join(path, RUN, `${OWNER}.new`), join(path, RUN, OWNER))
}

async function tryReadOwner(path: string): Promise<Owner | undefined> {
  try {
    const owner = JSON.parse(await readFile(join(path, RUN, OWNER), 'utf8'))
    return Number.isSafeInteger(owner.pid) ? owner : undefined
  } catch {
    return undefined
  }
}

async function refusal(path: string, error: unknown): Promise<CordilleraError> {
  if (error instanceof CordilleraError && error.code !== 'DIRECTORY_IN_USE') return error
  if (isLocked(error)) {
    const owner = await tryReadOwner(path)
    const who =
      owner === undefined
        ? 'another process'
        : `process ${owner.pid} on ${owner.host} (since ${owner.started}${addressesOf(owner)})`
    const detail = `${path} is used by ${who}; stop it, or use another --data`
    return new CordilleraError('DIRECTORY_IN_USE', { detail, details: { path, ...owner }, cause: error })
  }
  const reason = error instanceof Error ? error.message : String(error)
  return new CordilleraError('DIRECTORY_INVALID', { detail: `${path} cannot be used: ${reason}`, cause: error })
}

function addressesOf({ http, peer }: OwnerAddresses): string {
  return http === '' && peer === '' ? ', embedded' : `, HTTP at ${http}, peers at ${peer}`
}

/** classic-level says it with the cause of its error. */
function isLocked(error: unknown): boolean {
  for (let at = error; at instanceof Error; at = at.cause) {
    const { code } = at as { code?: unknown }
    if (code === 'LEVEL_LOCKED' || code === 'DIRECTORY_IN_USE') return true
  }
  return false
}
