import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { silentLogger } from '@cordillera/base'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { type StartedNode, startNode } from './start.js'
import type { StartConfig } from './start-config.js'

/** One whole node in this process, on a real disk and real sockets. (Processes and kills are tested in `test/`.) */
let root: string
const started: StartedNode[] = []
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'cordillera-start-'))
})
afterEach(async () => {
  for (const node of started.splice(0)) await node.stop()
  await rm(root, { recursive: true, force: true })
})

async function config(changes: Partial<StartConfig> = {}): Promise<StartConfig> {
  const peer = { host: '127.0.0.1', port: await freePort() }
  return {
    dataPath: join(root, 'data'),
    http: { host: '127.0.0.1', port: 0 },
    peer,
    advertise: peer,
    clusterSecretPath: undefined,
    founding: { kind: 'init', nodes: 1, ranges: 4 },
    locality: '',
    diskReserveBytes: 0,
    logLevel: 'silent',
    ...changes,
  }
}

async function start(given: StartConfig): Promise<string> {
  const node = await startNode(given, silentLogger)
  started.push(node)
  const url = `http://127.0.0.1:${node.httpAddress.port}`
  while ((await fetch(`${url}/readyz`)).status !== 200) await new Promise((resolve) => setImmediate(resolve))
  return url
}

async function freePort(): Promise<number> {
  const probe = createServer()
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve))
  const { port } = probe.address() as AddressInfo
  await new Promise((resolve) => probe.close(resolve))
  return port
}

it('keeps what was written over a stop and a start, whatever founding flags say then', async () => {
  const url = await start(await config())
  const put = await fetch(`${url}/v1/kv/a`, { method: 'PUT', body: 'kept' })
  expect(put.status).toBe(204)
  expect(
    (await fetch(`${url}/metrics`).then((res) => res.text())).match(/^cordillera_log_fsync_total [1-9]/m),
  ).not.toBeNull()
  const before = await (await fetch(`${url}/v1/admin/cluster`)).json()
  await started.pop()!.stop()
  for (const founding of [{ kind: 'none' }, { kind: 'init', nodes: 3, ranges: 9 }] as const) {
    const again = await start(await config({ founding }))
    const read = await fetch(`${again}/v1/kv/a`)
    expect(await read.text()).toBe('kept')
    expect(read.headers.get('etag')).toBe(put.headers.get('etag'))
    expect(await (await fetch(`${again}/v1/admin/cluster`)).json()).toEqual(before)
    await started.pop()!.stop()
  }
})

it('gives everything back when it cannot start', async () => {
  const given = await config()
  const url = await start(given)
  const { port } = new URL(url)
  const other = join(root, 'other')
  await expect(startNode(await config(), silentLogger)).rejects.toMatchObject({ code: 'DIRECTORY_IN_USE' })
  const httpTaken = await config({ dataPath: other, http: { host: '127.0.0.1', port: Number(port) } })
  await expect(startNode(httpTaken, silentLogger)).rejects.toThrow('choose another --http')
  const peerTaken = await config({ dataPath: other, peer: given.peer })
  await expect(startNode(peerTaken, silentLogger)).rejects.toThrow('choose another --peer')
  const neither = await config({ dataPath: other, founding: { kind: 'none' } })
  await expect(startNode(neither, silentLogger)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  expect((await fetch(`${await start(await config({ dataPath: other }))}/v1/kv/a`)).status).toBe(404)
})
