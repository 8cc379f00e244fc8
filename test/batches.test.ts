import { expect, test } from 'vitest'
import type { LocalCluster } from '../tools/local-cluster.mjs'
import { eventually } from './eventually.js'
import { NotSent, send } from './http-client.js'
import { startCluster } from './scratch.js'

/**
 * Batches over ranges, on a cluster of processes: money is moved between accounts in different ranges while nodes are killed,
 * ranges cut and merged and leaderships moved. Every scan sees the same sum, and what was acknowledged is there.
 */
const ACCOUNTS = 12
const OPENING_BALANCE = 100
const CLIENTS = 6

interface Entry {
  readonly key: string
  readonly value: string
  readonly version: number
}

const keyOf = (i: number): string =>
  `${Math.floor((i * 256) / ACCOUNTS)
    .toString(16)
    .padStart(2, '0')}-account`

class Bank {
  readonly counts = { transfers: 0, conflicts: 0, unknown: 0, refused: 0, audits: 0, unread: 0 }
  /** Of every transfer that was acknowledged: its mark, which stays for ever. */
  readonly marks: string[] = []
  readonly wrong: string[] = []
  isOver = false
  #marks = 0

  constructor(readonly cluster: LocalCluster) {}

  async work(client: number): Promise<void> {
    for (let turn = client; !this.isOver; turn++) {
      const { url } = this.cluster.nodes[turn % this.cluster.nodes.length]!
      const accounts = await this.audit(url)
      if (accounts !== undefined) await this.#transfer(url, accounts, turn)
    }
  }

  /** All accounts, as one scan sees them; undefined: it was not answered. */
  async audit(url: string): Promise<readonly Entry[] | undefined> {
    const answer = await send(url, '/v1/kv?limit=1000&timeoutMs=3000').catch(() => undefined)
    if (answer?.status !== 200) {
      this.counts.unread++
      return undefined
    }
    const { entries } = JSON.parse(answer.body.toString()) as { entries: Entry[] }
    const accounts = entries.filter(({ key }) => key.endsWith('-account'))
    const sum = accounts.reduce((total, { value }) => total + Number(value), 0)
    if (accounts.length !== ACCOUNTS || sum !== ACCOUNTS * OPENING_BALANCE) {
      this.wrong.push(`${sum} in ${accounts.map(({ key, value, version }) => `${key}=${value}@${version}`).join(', ')}`)
    }
    this.counts.audits++
    return accounts
  }

  async #transfer(url: string, accounts: readonly Entry[], turn: number): Promise<void> {
    const from = accounts[(turn * 7) % ACCOUNTS]!
    const to = accounts[(turn * 7 + 1 + (turn % (ACCOUNTS - 1))) % ACCOUNTS]!
    const amount = 1 + (turn % 9)
    const mark = `${keyOf(turn % ACCOUNTS)}-mark-${++this.#marks}`
    const write = ({ key, value, version }: Entry, change: number) => {
      return { op: 'put', key, value: `${Number(value) + change}`, ifVersion: version }
    }
    const ops = [write(from, -amount), write(to, amount), { op: 'put', key: mark, value: '' }]
    const sending = { method: 'POST', body: JSON.stringify({ ops }) }
    const answer = await send(url, '/v1/batch?timeoutMs=3000', sending).catch((error) => error)
    if (answer instanceof NotSent) this.counts.refused++
    else if (answer instanceof Error || answer.status === 504) this.counts.unknown++
    else if (answer.status === 200) {
      this.counts.transfers++
      this.marks.push(mark)
    } else if (answer.status === 412) this.counts.conflicts++
    else this.counts.refused++
  }
}

test('money moves between ranges, and none is made or lost, whatever happens', { timeout: 180_000 }, async () => {
  const cluster = await startCluster({ initialRanges: 4 })
  const [one, two, three] = cluster.nodes
  const bank = new Bank(cluster)
  const opening = Array.from({ length: ACCOUNTS }, (_, i) => ({
    op: 'put',
    key: keyOf(i),
    value: `${OPENING_BALANCE}`,
  }))
  const opened = await send(one!.url, '/v1/batch', { method: 'POST', body: JSON.stringify({ ops: opening }) })
  expect(opened.status).toBe(200)
  const clients = Array.from({ length: CLIENTS }, (_, client) => bank.work(client))
  const transfers = async (count: number): Promise<void> => {
    const goal = bank.counts.transfers + count
    await eventually(`${count} more transfers`, () => bank.counts.transfers >= goal, 30_000)
  }
  let beganAt = performance.now()
  const step = (name: string): void => {
    console.log(`${name}: ${((performance.now() - beganAt) / 1_000).toFixed(1)} s, ${JSON.stringify(bank.counts)}`)
    beganAt = performance.now()
  }
  const command = async (path: string, body: object): Promise<void> => {
    await send(two!.url, `${path}?wait=true`, { method: 'POST', body: JSON.stringify(body) }).catch(() => {})
  }
  const rangeOf = async (key: string): Promise<number> =>
    (await two!.json(`/v1/admin/ranges?key=${key}`)).ranges[0].rangeId
  const idTwo = await two!.nodeId()
  await transfers(50)
  step('quiet')
  for (let i = 1; i < ACCOUNTS; i += 3) {
    await command(`/v1/admin/ranges/${await rangeOf(keyOf(i))}/split`, { key: keyOf(i) })
    await command(`/v1/admin/ranges/${await rangeOf(keyOf(i))}/transfer-leader`, { node: idTwo })
  }
  await transfers(50)
  step('splits and transfers of leaderships')
  for (const node of [three!, one!, three!, one!]) {
    await node.kill()
    await transfers(10)
    node.start()
    await node.waitUntilReady(60_000)
    await transfers(10)
    step(`${node.name} killed and back`)
  }
  for (let i = 1; i < ACCOUNTS; i += 3) await command(`/v1/admin/ranges/${await rangeOf(keyOf(i - 1))}/merge`, {})
  await transfers(50)
  step('merges')
  bank.isOver = true
  await Promise.all(clients)
  await Promise.all(cluster.nodes.map((node) => node.kill()))
  await cluster.start()
  for (const { url } of cluster.nodes) await eventually('it is read', async () => (await bank.audit(url)) !== undefined)
  console.log(JSON.stringify(bank.counts))
  expect(bank.wrong).toEqual([])
  for (const mark of bank.marks) expect((await send(one!.url, `/v1/kv/${mark}`)).status).toBe(200)
})
