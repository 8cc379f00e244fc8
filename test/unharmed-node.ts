import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'vitest'
import { LocalCluster, type NodeProcess } from '../tools/local-cluster.mjs'
import { get, put } from './http-client.js'

/** One node for all tests of a file that ill-treat it: after each, the same process serves and holds nothing else. */
export class UnharmedNode {
  readonly #directory = mkdtempSync(join(tmpdir(), 'cordillera-test-'))
  #cluster: LocalCluster | undefined
  #pid = 0

  get process(): NodeProcess {
    return this.#cluster!.nodes[0]!
  }

  get url(): string {
    return this.process.url
  }

  async start(): Promise<void> {
    this.#cluster = await LocalCluster.create({ directory: this.#directory, nodes: 1 })
    await this.#cluster.start()
    this.#pid = this.process.pid
  }

  async close(): Promise<void> {
    await this.#cluster?.close()
    rmSync(this.#directory, { recursive: true, force: true })
  }

  async expectUnharmed(): Promise<void> {
    expect(this.process.isRunning && this.process.pid).toBe(this.#pid)
    await put(this.url, 'alive', 'yes')
    expect(await get(this.url, 'alive')).toBe('yes')
    const { entries } = await this.process.json('/v1/kv?prefix=&limit=10000')
    expect(entries.map(({ key }: { key: string }) => key)).toEqual(['alive'])
  }
}
