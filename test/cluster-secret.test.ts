import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { NodeProcess } from '../tools/local-cluster.mjs'
import { eventually } from './eventually.js'
import { get, put } from './http-client.js'
import { newNode, scratchDirectory } from './scratch.js'

/** Nodes that listen on every interface of the machine, and so must share a secret. */
async function exposedNode(name: string, secret: string, flags: readonly string[]): Promise<NodeProcess> {
  const at = scratchDirectory()
  const file = join(at, 'secret')
  writeFileSync(file, `${secret}\n`, { mode: 0o600 })
  const node = await newNode({ name, directory: at, flags: [] })
  const port = node.peerAddress.split(':')[1]
  const addresses = ['--peer', `0.0.0.0:${port}`, '--advertise', node.peerAddress]
  node.flags = [...flags, ...addresses, '--cluster-secret-file', file]
  return node
}

test('nodes beyond loopback meet by their secret, and a stranger without it stays outside', async () => {
  const secret = 'a secret that the members share'
  const founder = await exposedNode('founder', secret, ['--init', '--initial-nodes', '2'])
  founder.start()
  const joining = ['--join', founder.peerAddress]
  const stranger = await exposedNode('stranger', 'another secret altogether', joining)
  stranger.start()
  await eventually('the founder turns the stranger away', async () =>
    founder.log(1e6).includes('the cluster secrets of the two nodes differ'),
  )
  const member = await exposedNode('member', secret, joining)
  member.start()
  await Promise.all([founder.waitUntilReady(), member.waitUntilReady()])
  await put(member.url, 'a', 'shared')
  expect(await get(founder.url, 'a')).toBe('shared')
  const { nodeCount } = await founder.json('/v1/admin/cluster')
  expect(nodeCount).toBe(2)
  expect(await stranger.isReady()).toBe(false)
  for (const node of [founder, member, stranger]) expect(node.log(1e6)).not.toContain(secret)
})
