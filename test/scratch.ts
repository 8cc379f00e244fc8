import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach } from 'vitest'
import { freePorts, LocalCluster, NodeProcess } from '../tools/local-cluster.mjs'

/**
 * What a test starts and writes, gone after it, also when it failed: processes first, then their directories. The
 * directory of a failed test is kept when CORDILLERA_TEST_KEEP is set.
 */
const cleanups: (() => Promise<void> | void)[] = []

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/** Runs after the test, in the reverse order of calls. */
export function afterTest(cleanup: () => Promise<void> | void): void {
  cleanups.push(cleanup)
}

export function scratchDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'cordillera-test-'))
  afterTest(() => {
    if (process.env.CORDILLERA_TEST_KEEP === undefined) rmSync(directory, { recursive: true, force: true })
    else console.log(`kept ${directory}`)
  })
  return directory
}

/** A cluster that is laid out but not started. */
export async function newCluster(options: { nodes?: number; initialRanges?: number } = {}): Promise<LocalCluster> {
  const cluster = await LocalCluster.create({ directory: scratchDirectory(), ...options })
  afterTest(() => cluster.close())
  return cluster
}

/** A cluster that serves. */
export async function startCluster(options: { nodes?: number; initialRanges?: number } = {}): Promise<LocalCluster> {
  const cluster = await newCluster(options)
  await cluster.start()
  return cluster
}

/** One more node, not started, with a directory of its own unless one is given. */
export async function newNode(options: {
  name: string
  directory?: string
  flags: readonly string[]
}): Promise<NodeProcess> {
  const [httpPort, peerPort] = await freePorts(2)
  const directory = options.directory ?? scratchDirectory()
  const node = new NodeProcess({ ...options, directory, httpPort: httpPort!, peerPort: peerPort! })
  afterTest(async () => {
    await node.kill()
  })
  return node
}
