import { Agent } from 'node:http'
import { expect, test } from 'vitest'
import { eventually } from './eventually.js'
import { get, send } from './http-client.js'
import { afterTest, startCluster } from './scratch.js'

/**
 * Keys that all begin alike are in one range at first. With a limit on the load of a range it is cut where that halves the load,
 * while clients read and write: none of their requests fails, and every value is there. A range with one hot key is not cut, and
 * says why.
 */
interface Range {
  readonly rangeId: number
  readonly start: string
}

const KEYS = 400
const CLIENTS = 6
const KEEP = { keepAlive: true }

test('a range is cut where that halves its load; one hot key is not, and explained', { timeout: 40_000 }, async () => {
  const cluster = await startCluster()
  const urls = cluster.nodes.map(({ url }) => url)
  const agent = new Agent(KEEP)
  let isOver = false
  afterTest(() => {
    isOver = true
    agent.destroy()
  })
  const written = new Map<string, string>()
  let requests = 0
  const failed: string[] = []
  const ask = async (target: string, body?: string): Promise<void> => {
    const answer = await send(urls[requests++ % 3]!, target, { agent, ...(body && { method: 'PUT', body }) })
    if (![200, 204, 404].includes(answer.status)) failed.push(`${target}: ${answer.status} ${answer.body}`)
  }
  const client = async (id: number): Promise<void> => {
    for (let i = 0; !isOver; i++) {
      const key = `user${String((id * 37 + i * 101) % KEYS).padStart(8, '0')}-${id}`
      if (i % 2 === 0) {
        await ask(`/v1/kv/${key}`, `${i}`)
        written.set(key, `${i}`)
      } else await ask(`/v1/kv/${key}`)
    }
  }
  const hotClient = async (): Promise<void> => {
    while (!isOver) await ask('/v1/kv/a-hot-key')
  }
  const settings = await send(urls[0]!, '/v1/admin/settings', {
    method: 'PUT',
    body: JSON.stringify({ rangeSplitLoadPerSec: 40 }),
  })
  expect(settings.status, String(settings.body)).toBe(200)
  const clients = [...Array.from({ length: CLIENTS }, (_, id) => client(id)), hotClient(), hotClient(), hotClient()]
  const startedAt = performance.now()
  const ranges = async (): Promise<Range[]> => (await cluster.nodes[1]!.json('/v1/admin/ranges?limit=1000')).ranges

  const cut = await eventually('the range of all users is cut', async () => {
    return (await ranges()).find(({ start }) => start.startsWith('user0000'))
  })
  console.log(`cut at ${cut.start} after ${((performance.now() - startedAt) / 1_000).toFixed(1)} s`)
  const at = Number(cut.start.slice(4, 12))
  expect(at).toBeGreaterThan(KEYS / 8)
  expect(at).toBeLessThan((KEYS * 7) / 8)
  const { operators } = await cluster.nodes[2]!.json('/v1/admin/operators')
  expect(operators).toContainEqual(
    expect.objectContaining({ kind: 'split', reason: expect.stringMatching(/^load: serves \d+ requests\/s/) }),
  )

  const hot = (await ranges()).filter(({ start }) => start !== null && start <= 'a-hot-key').at(-1)!
  await eventually('why the hot key stays where it is', async () => {
    const { decisions } = await cluster.nodes[0]!.json(`/v1/admin/ranges/${hot.rangeId}/explain`)
    return decisions.some(({ code }: { code: string }) => code === 'ONE_HOT_KEY')
  })
  expect(await ranges()).not.toContainEqual(expect.objectContaining({ start: 'a-hot-key' }))
  isOver = true
  await Promise.all(clients)
  console.log(`${requests} requests, ${failed.length} failed`)
  expect(failed).toEqual([])
  for (const [key, value] of written) expect(await get(urls[0]!, key)).toBe(value)
})
