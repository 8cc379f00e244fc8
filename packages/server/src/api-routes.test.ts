import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { CordilleraError } from '@cordillera/base'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { ScanAnswer } from './admin-schemas.js'
import type { RangesPage } from './range-pages.js'
import { range } from './testing/fake-node.js'
import { type Answer, type Served, serveFake } from './testing/http-client.js'

/** Everything but single keys: the scan, the admin API's shapes, metrics, and what unknown paths and methods answer. */
let served: Served
beforeAll(async () => {
  served = await serveFake()
})
afterAll(() => served.close())
beforeEach(() => {
  served.node.data.clear()
  served.node.failure = undefined
  served.node.pagesMax = Number.POSITIVE_INFINITY
})

function fill(...keys: string[]): void {
  for (const key of keys) served.node.data.set(`default\x00${key}`, { version: 7, value: Buffer.from(`v-${key}`) })
}

const keysOf = (answer: Answer) => answer.json<ScanAnswer>().entries.map((entry) => entry.key)

describe('GET /v1/kv', () => {
  it('lists the keyspace in order, without a cursor on the last page', async () => {
    fill('b', 'a')
    served.node.data.set('other\x00x', { version: 1, value: Buffer.from('x') })
    const answer = await served.get('/v1/kv')
    expect(answer.headers['content-type']).toMatch(/^application\/json/)
    expect(answer.json()).toEqual({
      entries: [
        { key: 'a', value: 'v-a', version: 7 },
        { key: 'b', value: 'v-b', version: 7 },
      ],
    })
  })

  it.each([
    ['?prefix=a', ['a', 'a/1', 'a/2']],
    ['?prefix=a%2F', ['a/1', 'a/2']],
    ['?prefix=', ['a', 'a/1', 'a/2', 'b', 'c d', '\u00e9']],
    ['?start=a/1&end=b', ['a/1', 'a/2']],
    ['?start=b', ['b', 'c d', '\u00e9']],
    ['?end=a/1', ['a']],
    ['?end=', []],
    ['?start=b&end=a', []],
    ['?start=a/1&end=c&reverse=true', ['b', 'a/2', 'a/1']],
    ['?prefix=c+d', ['c d']],
    ['?prefix=%C3%A9', ['\u00e9']],
    ['?limit=2', ['a', 'a/1']],
    ['?reverse=true&limit=1', ['\u00e9']],
  ])('%s', async (query, keys) => {
    fill('a', 'a/1', 'a/2', 'b', 'c d', '\xc3\xa9')
    expect(keysOf(await served.get(`/v1/kv${query}`))).toEqual(keys)
  })

  it('goes on at a cursor alone, with its own direction, bounds and flags', async () => {
    fill('a', 'b', 'c', 'd', 'e')
    const first = await served.get('/v1/kv?start=61&end=65&reverse=true&values=false&limit=3&encoding=hex')
    expect(first.json<ScanAnswer>().entries).toEqual(['64', '63', '62'].map((key) => ({ key, version: 7 })))
    const second = (await served.get(`/v1/kv?cursor=${first.json<ScanAnswer>().cursor}`)).json()
    expect(second).toEqual({ entries: [{ key: '61', version: 7 }] })
  })

  it('spells an entry that is not UTF-8 in base64url of its own', async () => {
    fill('text', '\xff\xfe')
    served.node.data.set('default\x00value', { version: 9, value: Buffer.from([0xc3]) })
    expect((await served.get('/v1/kv')).json<ScanAnswer>().entries).toEqual([
      { key: 'text', value: 'v-text', version: 7 },
      { key: 'dmFsdWU', value: 'ww', version: 9, encoding: 'base64url' },
      { key: '__4', value: Buffer.from('v-\xff\xfe').toString('base64url'), version: 7, encoding: 'base64url' },
    ])
  })

  it('streams everything as lines', async () => {
    fill('a', 'b', 'c', 'd', 'e')
    const answer = await served.send({ path: '/v1/kv?limit=2', headers: { accept: 'application/x-ndjson' } })
    expect(answer.headers['content-type']).toBe('application/x-ndjson')
    const lines = answer.text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(lines.map((line) => line.key)).toEqual(['a', 'b', 'c', 'd', 'e'])
    expect(lines[0]).toEqual({ key: 'a', value: 'v-a', version: 7 })
  })

  it('streams no faster than the client reads', async () => {
    for (let i = 0; i < 400; i++) {
      const key = `default\x00${String(i).padStart(3, '0')}`
      served.node.data.set(key, { version: 1, value: Buffer.alloc(100_000, 97) })
    }
    const before = served.node.deadlines.length
    const req = request({ port: served.port, path: '/v1/kv?limit=10', headers: { accept: 'application/x-ndjson' } })
    req.end()
    const [res] = (await once(req, 'response')) as [IncomingMessage]
    let pages = -1
    while (pages !== served.node.deadlines.length) {
      pages = served.node.deadlines.length
      for (let i = 0; i < 20; i++) await served.get('/livez')
    }
    expect(pages - before).toBeLessThan(30)
    let bytes = 0
    for await (const chunk of res) bytes += chunk.length
    expect(bytes).toBeGreaterThan(400 * 100_000)
    expect(served.node.deadlines.length - before).toBe(40)
  })

  it('ends a stream that fails with the problem, and not properly', async () => {
    fill('a', 'b', 'c')
    served.node.pagesMax = 2
    const req = request({ port: served.port, path: '/v1/kv?limit=1', headers: { accept: 'application/x-ndjson' } })
    req.end()
    const [res] = (await once(req, 'response')) as [IncomingMessage]
    let text = ''
    const failed = once(res, 'error')
    res.on('data', (chunk) => {
      text += chunk
    })
    await failed
    const lines = text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(lines.slice(0, 2).map((line) => line.key)).toEqual(['a', 'b'])
    expect(lines[2].error).toMatchObject({ code: 'UNAVAILABLE', status: 503 })
  })

  it.each([
    ['?prefix=a&start=b', 'BAD_REQUEST'],
    ['?limit=0', 'BAD_REQUEST'],
    ['?limit=10001', 'BAD_REQUEST'],
    ['?limit=ten', 'BAD_REQUEST'],
    ['?limit=', 'BAD_REQUEST'],
    ['?reverse=yes', 'BAD_REQUEST'],
    ['?nonsense=1', 'BAD_REQUEST'],
    ['?__proto__=1', 'BAD_REQUEST'],
    ['?prefix=a&prefix=b', 'BAD_REQUEST'],
    ['?prefix=%zz', 'BAD_ENCODING'],
    ['?prefix=%ff', 'BAD_ENCODING'],
    ['?start=xyz&encoding=hex', 'BAD_ENCODING'],
    ['?encoding=latin1', 'BAD_REQUEST'],
    ['?cursor=abc', 'BAD_REQUEST'],
    ['?cursor=', 'BAD_REQUEST'],
    ['?timeoutMs=0', 'BAD_REQUEST'],
  ])('%s → 400 %s', async (query, code) => {
    const answer = await served.get(`/v1/kv${query}`)
    expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/)
    expect(answer.json()).toMatchObject({ status: 400, code })
  })

  it('refuses a cursor with other bounds, and bounds that are too large', async () => {
    fill('a', 'b')
    const { cursor } = (await served.get('/v1/kv?limit=1')).json<ScanAnswer>()
    expect((await served.get(`/v1/kv?cursor=${cursor}&prefix=a`)).json()).toMatchObject({ code: 'BAD_REQUEST' })
    expect(keysOf(await served.get(`/v1/kv?cursor=${cursor}&limit=5`))).toEqual(['b'])
    const answer = await served.get(`/v1/kv?prefix=${'k'.repeat(4097)}`)
    expect(answer.json()).toMatchObject({ status: 413, code: 'KEY_TOO_LARGE' })
  })

  it('answers a failure of the router', async () => {
    served.node.failure = new CordilleraError('UNAVAILABLE')
    const answer = await served.get('/v1/kv')
    expect(answer).toMatchObject({ status: 503 })
    expect(answer.headers['retry-after']).toBe('1')
  })
})

describe('the admin API', () => {
  it('describes the cluster', async () => {
    expect((await served.get('/v1/admin/cluster')).json()).toEqual(await served.node.cluster())
  })

  it('lists nodes and finds one', async () => {
    const nodes = await served.node.nodes()
    expect((await served.get('/v1/admin/nodes')).json()).toEqual({ nodes })
    expect((await served.get('/v1/admin/nodes/2')).json()).toEqual({ nodes: [nodes[1]] })
    expect((await served.get('/v1/admin/nodes/9')).json()).toMatchObject({ status: 404, code: 'NOT_FOUND' })
  })

  it('lists ranges with bounds as text, null for what is unknown or infinite', async () => {
    const { ranges } = await served.node.ranges({})
    expect((await served.get('/v1/admin/ranges')).json()).toEqual({ ranges })
    expect((await served.get('/v1/admin/ranges/3')).json()).toEqual({ ranges: [ranges[2]] })
    expect((await served.get('/v1/admin/ranges/4')).json()).toMatchObject({ status: 404, code: 'NOT_FOUND' })
  })

  it('passes filters on', async () => {
    await served.get('/v1/admin/ranges?key=ff&encoding=hex&node=2')
    expect(served.node.filters.at(-1)).toEqual({ key: 'default\x00\xff', node: 2 })
    await served.get('/v1/admin/ranges?key=%C3%A9&keyspace=orders')
    expect(served.node.filters.at(-1)).toEqual({
      key: 'orders\x00\xc3\xa9',
      span: { start: 'orders\x00', end: 'orders\x01' },
    })
    expect((await served.get('/v1/admin/ranges?node=9')).json()).toMatchObject({
      code: 'NOT_FOUND',
      detail: 'there is no node 9',
    })
    for (const query of ['node=0', 'node=a', 'keyspace=a/b', 'limit=0', 'x=1', 'encoding=hex', 'cursor=%00']) {
      expect((await served.get(`/v1/admin/ranges?${query}`)).json()).toMatchObject({ code: 'BAD_REQUEST' })
    }
  })

  it('pages through ranges, also when one vanishes in between', async () => {
    const all = served.node.rangeList
    const first = (await served.get('/v1/admin/ranges?limit=2')).json<RangesPage>()
    expect(first.ranges.map((r) => r.rangeId)).toEqual([1, 2])
    const second = (await served.get(`/v1/admin/ranges?limit=2&cursor=${first.cursor}`)).json<RangesPage>()
    expect(second.ranges.map((r) => r.rangeId)).toEqual([3])
    expect(second.cursor).toBeUndefined()
    served.node.rangeList = [all[0]!, range(7, 'default', '', '4'), all[2]!]
    const third = (await served.get(`/v1/admin/ranges?limit=2&cursor=${first.cursor}`)).json<RangesPage>()
    expect(third.ranges.map((r) => r.rangeId)).toEqual([3])
    served.node.rangeList = [range(9, 'default', '\xff', 'a'), range(10, 'default', '\xc3\xa9', null)]
    const bytes = (await served.get('/v1/admin/ranges')).json<RangesPage>().ranges
    expect(bytes[0]).toMatchObject({ start: '_w', end: 'YQ', encoding: 'base64url' })
    expect(bytes[1]).toMatchObject({ start: '\u00e9', end: null })
    served.node.rangeList = all
  })
})

describe('paths and methods', () => {
  it.each([
    '/',
    '/v1',
    '/v1/kvx',
    '/v1/kv2/a',
    '/v1/admin',
    '/v1/admin/nodes/',
    '/v2/kv/a',
    '/%',
    '/v1/admin/nodes/1/x',
  ])('%s is not there', async (path) => {
    for (const method of ['GET', 'POST', 'PROPFIND']) {
      const answer = await served.send({ method, path })
      expect([400, 404]).toContain(answer.status)
      expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/)
      if (path !== '/%') expect(answer.json()).toMatchObject({ code: 'NOT_FOUND', retry: 'never' })
    }
  })

  it.each(['/v1/kv', '/livez', '/metrics', '/v1/admin/cluster', '/v1/admin/nodes/1', '/v1/admin/ranges?limit=1'])(
    '%s takes no other method',
    async (path) => {
      for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS', 'PROPFIND']) {
        const answer = await served.send({
          method,
          path,
          body: '{"a":',
          headers: { 'content-type': 'application/json' },
        })
        expect(answer.json()).toMatchObject({ status: 405, code: 'METHOD_NOT_ALLOWED' })
        expect(answer.headers.allow).toBe('GET, HEAD')
      }
    },
  )

  it('HEAD works wherever GET does', async () => {
    for (const path of ['/livez', '/v1/admin/cluster', '/v1/kv', '/metrics']) {
      expect(await served.send({ method: 'HEAD', path })).toMatchObject({ status: 200, text: '' })
    }
  })
})

describe('GET /metrics', () => {
  it('counts syncs, requests and what the node counts, and no ranges', async () => {
    const fresh = await serveFake()
    fresh.server.onLogSync({ durationMs: 1.5, entries: 4, bytes: 1_000 })
    fresh.server.onLogSync({ durationMs: 700, entries: 1, bytes: 24 })
    await fresh.send({ method: 'PUT', path: '/v1/kv/m', body: 'x' })
    const answer = await fresh.get('/metrics')
    expect(answer.headers['content-type']).toMatch(/^text\/plain/)
    const lines = answer.text.split('\n')
    expect(lines).toContain('cordillera_log_fsync_total 2')
    expect(lines).toContain('cordillera_log_entries_total 5')
    expect(lines).toContain('cordillera_log_bytes_total 1024')
    expect(lines).toContain('cordillera_log_fsync_duration_seconds_bucket{le="0.002"} 1')
    expect(lines).toContain('cordillera_log_fsync_duration_seconds_count 2')
    expect(lines).toContain('cordillera_http_requests_total{method="PUT",status="2xx"} 1')
    expect(lines).toContain('cordillera_http_request_duration_seconds_bucket{method="PUT",le="+Inf"} 1')
    expect(lines).toContain('# TYPE cordillera_router_writes_total counter')
    expect(lines).toContain('cordillera_router_writes_total 7')
    expect(lines).toContain('cordillera_ranges 3')
    expect(answer.text).toContain('process_resident_memory_bytes')
    expect(answer.text).not.toMatch(/range(_?id)?="/i)
    expect((await fresh.get('/metrics')).status).toBe(200)
    await fresh.close()
  })
})
