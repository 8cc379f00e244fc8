import { resolve } from 'node:path'
import { CordilleraError } from '@cordillera/base'
import { DataDirectory } from './data-directory.js'
import { LevelError } from './database/level-error.js'
import { type EmbeddedNode, startEmbeddedNode } from './embedded-node.js'

/**
 * The nodes of this process, by location: databases that are opened on one location share its node, which stops with the
 * last of them. One of a process, because the directory's lock is.
 */
interface SharedNode {
  users: number
  readonly starting: Promise<EmbeddedNode>
  stopping: Promise<void> | undefined
}

const nodes = new Map<string, SharedNode>()

export interface UsedNode {
  readonly embedded: EmbeddedNode
  /** Whether this process has found the directory empty. */
  release(): Promise<void>
}

/** Throws an error with the code LEVEL_LOCKED when another process has the directory, and what the start of a node throws. */
export async function useNode(location: string, createIfMissing: boolean): Promise<UsedNode> {
  const path = resolve(location)
  if (!createIfMissing && !nodes.has(path) && !(await DataDirectory.exists(path))) throw missing(location)
  const shared = await findOrStart(path)
  try {
    return { embedded: await shared.starting, release: () => release(path, shared) }
  } catch (error) {
    // Whoever comes now may have begun another one already.
    if (nodes.get(path) === shared) nodes.delete(path)
    throw lockedOr(error)
  }
}

export function missing(what: string): LevelError {
  return new LevelError('LEVEL_MISSING', `${what} does not exist (createIfMissing is false)`)
}

async function findOrStart(path: string): Promise<SharedNode> {
  let shared = nodes.get(path)
  while (shared?.stopping !== undefined) {
    await shared.stopping.catch(() => {})
    shared = nodes.get(path)
  }
  if (shared === undefined) {
    shared = { users: 0, starting: startEmbeddedNode(path), stopping: undefined }
    nodes.set(path, shared)
  }
  shared.users++
  return shared
}

async function release(path: string, shared: SharedNode): Promise<void> {
  if (--shared.users > 0) return
  // Known in the same turn: who comes from now on waits for it.
  shared.stopping = shared.starting.then(({ stop }) => stop()).finally(() => nodes.delete(path))
  await shared.stopping
}

/** As `classic-level` says it. */
function lockedOr(error: unknown): unknown {
  if (!(error instanceof CordilleraError) || error.code !== 'DIRECTORY_IN_USE') return error
  return new LevelError('LEVEL_LOCKED', error.message, error)
}
