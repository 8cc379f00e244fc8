import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { crc32 } from 'node:zlib'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { ScanAnswer } from './admin-schemas.js'
import { type Answer, type Served, serveFake } from './testing/http-client.js'

/** `?keyspace=` everywhere, and scans whose every page sees what the first one saw. */
let served: Served
beforeAll(async () => {
  served = await serveFake()
})
afterAll(() => served.close())
beforeEach(() => {
  served.node.data.clear()
  served.node.snapshots.clear()
  served.node.pages.length = 0
})

const write = (method: string, path: string, body?: string) =>
  served.send({ method, path, ...(body !== undefined && { body }) })
const scan = async (query: string) => (await served.get(`/v1/kv${query}`)).json<ScanAnswer>()
const keysOf = (answer: ScanAnswer) => answer.entries.map((entry) => entry.key)

function fill(...keys: string[]): void {
  for (const key of keys) served.node.data.set(key, { version: 7, value: Buffer.from(`v-${key}`) })
}

function linesOf(answer: Pick<Answer, 'text'>): Record<string, unknown>[] {
  return answer.text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
}

describe('a keyspace', () => {
  it('has keys of its own', async () => {
    await write('PUT', '/v1/kv/a', 'default')
    const written = await write('PUT', '/v1/kv/a?keyspace=orders', 'orders')
    await write('PUT', '/v1/kv/ff?encoding=hex&keyspace=orders', 'bytes')
    expect([...served.node.data.keys()]).toEqual(['default\x00a', 'orders\x00a', 'orders\x00\xff'])
    const read = await served.get('/v1/kv/a?keyspace=orders')
    expect([read.text, read.headers.etag]).toEqual(['orders', written.headers.etag])
    expect((await served.get('/v1/kv/a?keyspace=default')).text).toBe('default')
    expect((await served.get('/v1/kv/a?keyspace=Orders')).json()).toMatchObject({ code: 'KEY_NOT_FOUND' })
    expect((await write('DELETE', '/v1/kv/a?keyspace=orders')).status).toBe(204)
    expect([...served.node.data.keys()]).toEqual(['default\x00a', 'orders\x00\xff'])
  })

  it('may have the longest name and the largest key', async () => {
    const keyspace = 'k'.repeat(64)
    expect((await write('PUT', `/v1/kv/${'x'.repeat(4096)}?keyspace=${keyspace}`, 'v')).status).toBe(204)
    expect(await scan(`?keyspace=${keyspace}`)).toMatchObject({ entries: [{ key: 'x'.repeat(4096) }] })
  })

  it('is scanned alone, forwards and backwards, by prefix and bounds, to its end', async () => {
    fill('default\x00a', 'orders\x00a', 'orders\x00b/1', 'orders\x00b/2', 'orders\x00\xff\xff', 'orders-2\x00x')
    expect(keysOf(await scan('?keyspace=orders&encoding=hex'))).toEqual(['61', '622f31', '622f32', 'ffff'])
    expect(keysOf(await scan('?keyspace=orders&prefix=b/'))).toEqual(['b/1', 'b/2'])
    expect(keysOf(await scan('?keyspace=orders&start=b&end=b/2&reverse=true'))).toEqual(['b/1'])
    expect(keysOf(await scan('?keyspace=orders-2'))).toEqual(['x'])
    expect(keysOf(await scan('?keyspace=default'))).toEqual(['a'])
    expect(await scan('?keyspace=nobody')).toEqual({ entries: [] })
  })

  it('is named by the cursor alone', async () => {
    fill('default\x00a', 'default\x00b', 'orders\x00a', 'orders\x00b', 'orders\x00c')
    const first = await scan('?keyspace=orders&limit=1')
    const second = await scan(`?cursor=${first.cursor}`)
    expect(keysOf(second)).toEqual(['b'])
    expect(keysOf(await scan(`?cursor=${second.cursor}`))).toEqual(['c'])
    const both = await served.get(`/v1/kv?cursor=${first.cursor}&keyspace=orders`)
    expect(both.json()).toMatchObject({ status: 400, code: 'BAD_REQUEST' })
  })

  it.each(['', 'a/b', '-a', '.a', 'a%00', '%C3%A9', 'x'.repeat(65), 'a+b', 'orders&keyspace=orders'])(
    'is not named %j',
    async (name) => {
      for (const [method, path] of [
        ['PUT', '/v1/kv/a'],
        ['GET', '/v1/kv/a'],
        ['DELETE', '/v1/kv/a'],
        ['GET', '/v1/kv'],
        ['GET', '/v1/admin/ranges'],
      ] as const) {
        const answer = await write(method, `${path}?keyspace=${name}`, method === 'PUT' ? 'v' : undefined)
        expect(answer.json()).toMatchObject({ status: 400, code: 'BAD_REQUEST' })
      }
      expect(served.node.data.size).toBe(0)
    },
  )
})

describe('a scan', () => {
  it('sees one snapshot through all its cursors, whatever is written meanwhile', async () => {
    fill('default\x00a', 'default\x00b', 'default\x00c', 'default\x00d')
    const first = await scan('?limit=2')
    expect(Object.keys(first).sort()).toEqual(['cursor', 'entries'])
    await write('PUT', '/v1/kv/c', 'changed')
    await write('PUT', '/v1/kv/bb', 'added')
    await write('DELETE', '/v1/kv/d')
    const second = await scan(`?cursor=${first.cursor}`)
    expect(second).toEqual({
      entries: ['c', 'd'].map((key) => ({ key, value: `v-default\x00${key}`, version: 7 })),
    })
    expect(keysOf(await scan('?limit=9'))).toEqual(['a', 'b', 'bb', 'c'])
    const [chosen, continued, fresh] = served.node.pages
    expect([chosen!.at, fresh!.at]).toEqual([0, 0])
    expect(served.node.snapshots.has(continued!.at)).toBe(true)
  })

  it('is continued by the same cursor as often as it is asked for', async () => {
    fill('default\x00a', 'default\x00b', 'default\x00c')
    const { cursor } = await scan('?limit=1')
    const [once, twice] = [await scan(`?cursor=${cursor}`), await scan(`?cursor=${cursor}`)]
    expect(once).toEqual(twice)
  })

  it('whose snapshot has expired is 410', async () => {
    fill('default\x00a', 'default\x00b')
    const { cursor } = await scan('?limit=1')
    served.node.snapshots.clear()
    const answer = await served.get(`/v1/kv?cursor=${cursor}`)
    expect(answer.json()).toMatchObject({ status: 410, code: 'SNAPSHOT_EXPIRED', retry: 'never' })
    expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/)
    const lines = await served.send({ path: `/v1/kv?cursor=${cursor}`, headers: { accept: 'application/x-ndjson' } })
    expect(lines.status).toBe(410)
  })

  it('streamed sees the first page’s snapshot to the end', async () => {
    fill(...['a', 'b', 'c', 'd', 'e'].map((key) => `orders\x00${key}`))
    const path = '/v1/kv?limit=2&keyspace=orders'
    const answer = await served.send({ path, headers: { accept: 'application/x-ndjson' } })
    expect(linesOf(answer).map((line) => line.key)).toEqual(['a', 'b', 'c', 'd', 'e'])
    const [first, ...rest] = served.node.pages.map((page) => page.at)
    expect(first).toBe(0)
    expect(rest).toHaveLength(2)
    expect(new Set(rest).size).toBe(1)
    expect(rest[0]).toBeGreaterThan(0)
  })

  it('streamed from a cursor goes on at its snapshot', async () => {
    fill('default\x00a', 'default\x00b', 'default\x00c')
    const { cursor } = await scan('?limit=1')
    await write('PUT', '/v1/kv/b', 'changed')
    const headers = { accept: 'application/x-ndjson' }
    const answer = await served.send({ path: `/v1/kv?cursor=${cursor}`, headers })
    expect(linesOf(answer).map((line) => line.value)).toEqual(['v-default\x00b', 'v-default\x00c'])
  })

  it('whose snapshot expires while it is streamed is cut, behind the problem', async () => {
    fill('default\x00a', 'default\x00b', 'default\x00c')
    served.node.expireAfterPages = 2
    const req = request({ port: served.port, path: '/v1/kv?limit=1', headers: { accept: 'application/x-ndjson' } })
    req.end()
    const [res] = (await once(req, 'response')) as [IncomingMessage]
    let text = ''
    res.on('data', (chunk) => {
      text += chunk
    })
    await once(res, 'error')
    served.node.expireAfterPages = Number.POSITIVE_INFINITY
    const [a, b, last, ...more] = linesOf({ text })
    expect([a!.key, b!.key, more.length]).toEqual(['a', 'b', 0])
    expect(last!.error).toMatchObject({ code: 'SNAPSHOT_EXPIRED', status: 410 })
  })
})

describe('a cursor', () => {
  /** A cursor's bytes with a checksum that fits, as nobody gave them out. */
  const forge = (change: (body: Buffer) => Buffer, cursor: string): string => {
    const body = change(Buffer.from(cursor, 'base64url').subarray(0, -4))
    const sum = Buffer.alloc(4)
    sum.writeUInt32LE(crc32(body))
    return Buffer.concat([body, sum]).toString('base64url')
  }

  it.each<[string, (body: Buffer) => Buffer]>([
    ['of the format before', (body) => Buffer.concat([Buffer.of(1), body.subarray(1)])],
    ['of a format to come', (body) => Buffer.concat([Buffer.of(3), body.subarray(1)])],
    ['without a snapshot', (body) => Buffer.concat([body.subarray(0, 4), Buffer.of(0), body.subarray(5)])],
    ['of another name', (body) => Buffer.from(body.toString('latin1').replace('orders', 'ord/rs'), 'latin1')],
    ['with a rest', (body) => Buffer.concat([body, Buffer.of(0)])],
  ])('%s is refused', async (_, change) => {
    fill('orders\x00a', 'orders\x00b')
    served.node.snapshots.set(0, served.node.data)
    const cursor = (await scan('?keyspace=orders&limit=1')).cursor!
    expect(keysOf(await scan(`?cursor=${forge((body) => body, cursor)}`))).toEqual(['b'])
    const answer = await served.get(`/v1/kv?cursor=${forge(change, cursor)}`)
    expect(answer.json()).toMatchObject({ status: 400, code: 'BAD_REQUEST' })
    expect(answer.json().detail).toContain('cursor')
  })

  it('given out before cursors named their snapshot is refused', async () => {
    // Format 1: format, flags, encoding, limit 1, start "b" behind its length, checksum.
    const body = Buffer.from([1, 2, 0, 1, 1, 0x62])
    const sum = Buffer.alloc(4)
    sum.writeUInt32LE(crc32(body))
    const cursor = Buffer.concat([body, sum]).toString('base64url')
    expect((await served.get(`/v1/kv?cursor=${cursor}`)).json()).toMatchObject({ status: 400, code: 'BAD_REQUEST' })
  })
})
