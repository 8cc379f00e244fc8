import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach } from 'vitest'
import { freePorts, LocalCluster, NodeProcess } from '../tools/local-cluster.mjs'

/**
 * What a test starts and writes, gone after it, also when it failed: processes first, then their directories. A failed
 * test shows the last lines that its nodes logged.
 */
type Cleanup = (hasFailed: boolean) => Promise<void> | void
const cleanups: Cleanup[] = []

afterEach(async ({ task }) => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup(task.result?.state === 'fail')
})

/** Runs after the test, in the reverse order of calls. */
export function afterTest(cleanup: Cleanup): void {
  cleanups.push(cleanup)
}

export function scratchDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'cordillera-test-'))
  afterTest((hasFailed) => {
    if (hasFailed) showLogs(directory)
    rmSync(directory, { recursive: true, force: true })
  })
  return directory
}

function showLogs(directory: string): void {
  const isOutput = (name: string): boolean => name.endsWith('.log') && !/(?:^|\/)(?:log|state)\//.test(name)
  const names = readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter(isOutput)
  for (const name of names) {
    const lines = readFileSync(join(directory, name), 'utf8').trimEnd().split('\n')
    console.log(`${name}:\n${lines.slice(-LINES_SHOWN).join('\n')}`)
  }
}

const LINES_SHOWN = 40

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
