import { keyspacePrefix, spreadKey } from '@cordillera/ranges'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { ScanAnswer } from './admin-schemas.js'
import { range } from './testing/fake-node.js'
import { type Served, serveFake } from './testing/http-client.js'

/** `?spread=true`: where keys are kept, scans in the order of keys, and ranges whose bounds begin with a bucket. */
let served: Served
beforeAll(async () => {
  served = await serveFake()
})
afterAll(() => served.close())
beforeEach(() => {
  served.node.data.clear()
  served.node.filters.length = 0
  served.node.operatorLog.requests.length = 0
})

const SPREAD = 'keyspace=orders&spread=true'
const stored = (key: string) => spreadKey(keyspacePrefix('orders', true), key)
const send = (method: string, path: string, body?: string, headers: Record<string, string> = {}) =>
  served.send({ method, path, headers, ...(body !== undefined && { body }) })
const scan = async (query: string) => (await served.get(`/v1/kv?${query}`)).json<ScanAnswer>()
const keysOf = (answer: ScanAnswer) => answer.entries.map(({ key }) => key)

describe('a key of a spread keyspace', () => {
  it('is kept behind its bucket, and is no key of the plain keyspace', async () => {
    const written = await send('PUT', `/v1/kv/a?${SPREAD}`, 'v')
    expect([...served.node.data.keys()]).toEqual([stored('a')])
    const read = await served.get(`/v1/kv/a?${SPREAD}`)
    expect([read.text, read.headers.etag]).toEqual(['v', written.headers.etag])
    for (const query of [
      'keyspace=orders',
      'keyspace=orders&spread=false',
      'keyspace=default',
      'keyspace=other&spread=true',
    ])
      expect((await served.get(`/v1/kv/a?${query}`)).json()).toMatchObject({ code: 'KEY_NOT_FOUND' })
    expect((await send('DELETE', `/v1/kv/a?${SPREAD}`)).status).toBe(204)
    expect(served.node.data.size).toBe(0)
  })

  it('is the same key in every spelling, also when its bytes are no text', async () => {
    await send('PUT', `/v1/kv/%C3%A9?${SPREAD}`, '1')
    expect((await served.get(`/v1/kv/c3a9?encoding=hex&${SPREAD}`)).text).toBe('1')
    // Half a surrogate pair, as bytes.
    await send('PUT', `/v1/kv/eda080?encoding=hex&${SPREAD}`, '2')
    expect((await served.get(`/v1/kv/7aCA?encoding=base64url&${SPREAD}`)).text).toBe('2')
    expect(keysOf(await scan(`${SPREAD}&encoding=hex`))).toEqual(['c3a9', 'eda080'])
  })

  it('takes conditions and idempotency keys', async () => {
    const path = `/v1/kv/a?${SPREAD}`
    const once = { 'idempotency-key': 'k1' }
    const first = await send('PUT', path, 'v', { ...once, 'if-none-match': '*' })
    expect(first.status).toBe(204)
    const again = await send('PUT', path, 'v', { ...once, 'if-none-match': '*' })
    expect(again.headers.etag).toBe(first.headers.etag)
    expect((await send('PUT', path, 'other', { ...once, 'if-none-match': '*' })).status).toBe(422)
    expect((await send('PUT', path, 'v', { 'if-none-match': '*' })).status).toBe(412)
    expect((await send('PUT', path, 'w', { 'if-match': first.headers.etag! })).status).toBe(204)
    // In the plain keyspace it is another operation.
    expect((await send('PUT', '/v1/kv/a?keyspace=orders', 'other', once)).status).toBe(204)
  })

  it('has the length of any other', async () => {
    const query = `keyspace=${'k'.repeat(64)}&spread=true`
    expect((await send('PUT', `/v1/kv/${'x'.repeat(4096)}?${query}`, 'v')).status).toBe(204)
    expect(keysOf(await scan(query))).toEqual(['x'.repeat(4096)])
    const answer = await send('PUT', `/v1/kv/${'x'.repeat(4097)}?${query}`, 'v')
    expect(answer.json()).toMatchObject({ status: 413, code: 'KEY_TOO_LARGE' })
    expect(answer.json().detail).toContain('at most 4096 bytes, not 4097')
  })

  it.each(['spread=true', 'keyspace=orders&spread=yes', 'keyspace=orders&spread=', 'keyspace=a/b&spread=true'])(
    'is not meant by %s',
    async (query) => {
      for (const [method, path] of [
        ['PUT', '/v1/kv/a'],
        ['GET', '/v1/kv/a'],
        ['DELETE', '/v1/kv/a'],
        ['GET', '/v1/kv'],
        ['GET', '/v1/admin/ranges'],
      ] as const) {
        const answer = await send(method, `${path}?${query}`, method === 'PUT' ? 'v' : undefined)
        expect(answer.json()).toMatchObject({ status: 400, code: 'BAD_REQUEST' })
      }
      expect(served.node.data.size).toBe(0)
    },
  )
})

describe('a scan of a spread keyspace', () => {
  const KEYS = Array.from({ length: 40 }, (_, i) => `order-${String(i).padStart(3, '0')}`)
  beforeEach(() => {
    for (const key of KEYS) served.node.data.set(stored(key), { version: 7, value: Buffer.from(`v-${key}`) })
    served.node.data.set('orders\x00plain', { version: 7, value: Buffer.from('plain') })
  })

  it('is in the order of keys, by prefix and bounds, both ways', async () => {
    expect(keysOf(await scan(SPREAD))).toEqual(KEYS)
    expect(keysOf(await scan(`${SPREAD}&reverse=true&limit=3`))).toEqual(KEYS.slice(-3).reverse())
    expect(keysOf(await scan(`${SPREAD}&prefix=order-01`))).toEqual(KEYS.slice(10, 20))
    expect(keysOf(await scan(`${SPREAD}&start=order-005&end=order-008`))).toEqual(KEYS.slice(5, 8))
    expect((await scan(`${SPREAD}&limit=1&values=false`)).entries).toEqual([{ key: KEYS[0], version: 7 }])
    expect(keysOf(await scan('keyspace=orders'))).toEqual(['plain'])
  })

  it('goes on by a cursor that knows its keyspace, at one snapshot', async () => {
    const first = await scan(`${SPREAD}&limit=25`)
    await send('PUT', `/v1/kv/order-0250?${SPREAD}`, 'later')
    expect(keysOf(await scan(`cursor=${first.cursor}`))).toEqual(KEYS.slice(25))
    const both = await served.get(`/v1/kv?cursor=${first.cursor}&spread=true`)
    expect(both.json()).toMatchObject({ status: 400, code: 'BAD_REQUEST' })
  })

  it('streams all as lines', async () => {
    const headers = { accept: 'application/x-ndjson' }
    const { text } = await served.send({ path: `/v1/kv?${SPREAD}&limit=7`, headers })
    expect(
      text
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line).key),
    ).toEqual(KEYS)
  })
})

describe('ranges of a spread keyspace', () => {
  const split = (rangeId: number, key: string, query = '') =>
    send('POST', `/v1/admin/ranges/${rangeId}/split${query}`, JSON.stringify({ key }))
  const keysAsked = () => served.node.operatorLog.requests.map((request) => 'key' in request && request.key)
  beforeEach(() => {
    const spread = { spread: true }
    served.node.rangeList = [
      range(2, 'default', '', '8'),
      { ...range(4, 'orders', '', '8'), ...spread },
      { ...range(5, 'orders', '8', null), ...spread },
    ]
  })

  it('are asked for by keyspace, and by a key without its bucket', async () => {
    await served.get(`/v1/admin/ranges?${SPREAD}`)
    await served.get(`/v1/admin/ranges?${SPREAD}&key=a`)
    const span = { start: 'orders\x01', end: 'orders\x02' }
    expect(served.node.filters).toEqual([{ span }, { key: stored('a'), span }])
  })

  it('say that they are, and show bounds with their buckets', async () => {
    const { ranges } = (await served.get('/v1/admin/ranges')).json<{ ranges: Record<string, unknown>[] }>()
    expect(ranges.map(({ keyspace, spread, start, end }) => [keyspace, spread, start, end])).toEqual([
      ['default', undefined, '', '8'],
      ['orders', true, '', '8'],
      ['orders', true, '8', null],
    ])
  })

  it('are split at what is shown as a bound', async () => {
    await split(4, '3')
    await split(5, 'forder-7')
    await split(5, '66ff', '?encoding=hex')
    await split(5, `f${'x'.repeat(4096)}`)
    await split(5, 'c', `?${SPREAD}`)
    expect(keysAsked()).toEqual([
      'orders\x013',
      'orders\x01forder-7',
      'orders\x01f\xff',
      `orders\x01f${'x'.repeat(4096)}`,
      'orders\x01c',
    ])
  })

  it('are not split at anything else', async () => {
    for (const key of ['order-7', 'G', '\u00e9']) {
      const answer = (await split(4, key)).json()
      expect(answer).toMatchObject({ status: 400, code: 'BAD_REQUEST' })
      expect(answer.detail).toContain('split at a bucket')
    }
    expect((await split(5, '8')).json()).toMatchObject({ status: 409, code: 'CONFLICT' })
    expect((await split(5, '3')).json().detail).toContain('["8", the end) of spread keyspace orders; range 4 holds it')
    expect((await split(5, 'f', '?keyspace=orders')).json()).toMatchObject({ status: 400, code: 'BAD_REQUEST' })
    expect((await split(5, `f${'x'.repeat(4097)}`)).json()).toMatchObject({ status: 413, code: 'KEY_TOO_LARGE' })
    expect((await split(5, 'f', '?spread=true')).json()).toMatchObject({ status: 400, code: 'BAD_REQUEST' })
    const useless = await send('POST', `/v1/admin/ranges/5/split?${SPREAD}`)
    expect(useless.json()).toMatchObject({ status: 400, code: 'BAD_REQUEST' })
    expect(keysAsked()).toEqual([])
  })
})
