import { CordilleraError } from '@cordillera/base'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import type { OperatorInfo } from './operator-schemas.js'
import { FakeNode, range } from './testing/fake-node.js'
import { type Answer, type Served, serveFake } from './testing/http-client.js'

/** Commands to nodes and ranges: what reaches the node, what is answered when, and what is refused before it gets there. */
let served: Served
beforeAll(async () => {
  served = await serveFake()
})
afterAll(() => served.close())
beforeEach(() => {
  const fresh = new FakeNode()
  served.node.operatorLog = fresh.operatorLog
  served.node.rangeList = fresh.rangeList
  served.node.failure = undefined
})

const post = (path: string, body?: object | string): Promise<Answer> =>
  served.send({
    method: 'POST',
    path: `/v1/admin${path}`,
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  })
const operatorOf = (answer: Answer) => answer.json<{ operator: OperatorInfo }>().operator
const requests = () => served.node.operatorLog.requests

describe('commands', () => {
  it.each([
    ['/nodes/2/drain', undefined, { kind: 'drain', nodeId: 2 }],
    ['/nodes/2/undrain', {}, { kind: 'undrain', nodeId: 2 }],
    ['/nodes/1/decommission', undefined, { kind: 'decommission', nodeId: 1 }],
    ['/nodes/1/recommission', '', { kind: 'recommission', nodeId: 1 }],
    ['/ranges/2/merge', undefined, { kind: 'merge', rangeId: 2 }],
    ['/ranges/2/split', undefined, { kind: 'split', rangeId: 2 }],
    ['/ranges/2/split', {}, { kind: 'split', rangeId: 2 }],
    ['/ranges/2/split', { key: '3' }, { kind: 'split', rangeId: 2, key: 'default\x003' }],
    ['/ranges/2/transfer-leader', { node: 2 }, { kind: 'transfer-leader', rangeId: 2, nodeId: 2 }],
    ['/ranges/2/replicas', { add: 2, remove: 1 }, { kind: 'change-replicas', rangeId: 2, add: 2, remove: 1 }],
    ['/ranges/2/replicas', { add: 2 }, { kind: 'change-replicas', rangeId: 2, add: 2 }],
    ['/ranges/2/replicas', { remove: 2 }, { kind: 'change-replicas', rangeId: 2, remove: 2 }],
  ])('%s %j', async (path, body, request) => {
    const answer = await post(path, body)
    expect(answer.status).toBe(202)
    expect(requests()).toEqual([request])
    expect(operatorOf(answer)).toEqual(served.node.operatorLog.list[0])
    expect(answer.headers.location).toBe('/v1/admin/operators/1')
  })

  it('sent again answer with the one that runs', async () => {
    const first = operatorOf(await post('/nodes/2/drain'))
    expect(operatorOf(await post('/nodes/2/drain'))).toEqual(first)
    served.node.operatorLog.next = { state: 'done' }
    served.node.operatorLog.end(1, { state: 'done' })
    expect(operatorOf(await post('/nodes/2/drain')).state).toBe('done')
  })

  it.each(['/nodes/9/drain', '/ranges/9/split', '/ranges/9/merge', '/ranges/9/recover'])(
    '%s: there is none',
    async (path) => {
      expect((await post(path)).json()).toMatchObject({ status: 404, code: 'NOT_FOUND' })
    },
  )

  it('pass on the refusals of the node', async () => {
    served.node.failure = new CordilleraError('CONFLICT', { detail: 'the range is being merged' })
    expect((await post('/ranges/2/merge?wait=true')).json()).toMatchObject({
      status: 409,
      code: 'CONFLICT',
      detail: 'the range is being merged',
    })
    served.node.failure = new CordilleraError('UNAVAILABLE')
    const answer = await post('/ranges/2/merge')
    expect(answer.json()).toMatchObject({ status: 503, retry: 'other-node' })
    expect(answer.headers['retry-after']).toBe('1')
  })

  it('are not taken from pages of other sites', async () => {
    const from = async (headers: Record<string, string>) =>
      (await served.send({ method: 'POST', path: '/v1/admin/nodes/2/drain', headers })).status
    expect(await from({ 'sec-fetch-site': 'cross-site' })).toBe(400)
    expect(await from({ origin: 'https://evil.example' })).toBe(400)
    expect(await from({ origin: 'null' })).toBe(400)
    expect(requests()).toEqual([])
    expect(await from({ 'sec-fetch-site': 'same-origin', origin: 'http://x' })).toBe(202)
    expect(await from({ origin: `http://127.0.0.1:${served.port}` })).toBe(202)
  })
})

describe('what an operator is to do', () => {
  it('is told with its key as text, or in base64url', async () => {
    served.node.operatorLog.next = { state: 'running', goal: { keyspace: 'default', key: '\xc3\xa9', right: 7 } }
    const text = { keyspace: 'default', key: '\u00e9', right: 7 }
    expect(operatorOf(await post('/ranges/3/split', { key: '\u00e9' }))).toMatchObject({ goal: text })
    expect((await served.get('/v1/admin/operators')).json()).toMatchObject({ operators: [{ goal: text }] })
    expect((await served.get('/v1/admin/operators/1')).json()).toMatchObject({ operator: { goal: text } })
    const error = { code: 'CONFLICT', detail: 'd' }
    served.node.operatorLog.next = { state: 'failed', error, goal: { key: '\xff', right: 8 } }
    expect((await post('/ranges/2/split?wait=true', { key: '7' })).json()).toMatchObject({
      operator: { goal: { key: '_w', encoding: 'base64url', right: 8 } },
    })
    served.node.operatorLog.next = { state: 'running', goal: { add: 2, remove: 1 } }
    expect(operatorOf(await post('/ranges/2/replicas', { add: 2, remove: 1 }))).toMatchObject({
      goal: { add: 2, remove: 1 },
    })
  })
})

describe('?wait=true', () => {
  it('answers 200 when it is done, with its result', async () => {
    const answer = post('/ranges/2/split?wait=true')
    await until(() => served.node.operatorLog.waitingCount === 1)
    served.node.operatorLog.end(1, { state: 'done', result: { left: 2, right: 7, extra: [null] } })
    expect((await answer).status).toBe(200)
    expect(operatorOf(await answer)).toMatchObject({ state: 'done', result: { left: 2, right: 7, extra: [null] } })
    expect(served.node.operatorLog.waits[0]).toBeGreaterThan(4_000)
    expect(served.node.operatorLog.waits[0]).toBeLessThanOrEqual(5_000)
  })

  it('answers 200 at once when there is nothing to do', async () => {
    served.node.operatorLog.next = { state: 'done' }
    expect((await post('/nodes/1/drain?wait=true')).status).toBe(200)
    expect((await post('/nodes/1/drain')).status).toBe(202)
    expect(served.node.operatorLog.waits).toEqual([])
  })

  it('answers 409 with the code and detail of one that failed', async () => {
    const error = { code: 'UNAVAILABLE', detail: 'node 2 does not answer' }
    served.node.operatorLog.next = { state: 'failed', error }
    const answer = await post('/ranges/2/transfer-leader?wait=true', { node: 2 })
    expect(answer.status).toBe(409)
    expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/)
    expect(answer.json()).toMatchObject({
      ...error,
      status: 409,
      retry: 'other-node',
      type: 'urn:cordillera:problem:unavailable',
      operator: { operatorId: 1, state: 'failed', error },
    })
    served.node.operatorLog.next = { state: 'failed', error: { code: 'NO_SUCH', detail: 'd' } }
    expect((await post('/ranges/2/merge?wait=true')).json()).toMatchObject({ code: 'CONFLICT', detail: 'NO_SUCH: d' })
    served.node.operatorLog.next = { state: 'failed', error }
    expect((await post('/nodes/2/drain')).status).toBe(202)
  })

  it('answers 409 when it is cancelled meanwhile', async () => {
    const answer = post('/ranges/2/merge?wait=true')
    await until(() => served.node.operatorLog.waitingCount === 1)
    expect((await served.send({ method: 'DELETE', path: '/v1/admin/operators/1' })).status).toBe(200)
    expect((await answer).json()).toMatchObject({
      status: 409,
      code: 'CONFLICT',
      detail: 'operator 1 (merge) cancelled',
    })
  })

  it('answers 202 when it still runs at the timeout, and when the waiting fails', async () => {
    const late = await post('/ranges/2/merge?wait=true&timeoutMs=5')
    expect(late).toMatchObject({ status: 202 })
    expect(operatorOf(late).state).toBe('running')
    served.node.operatorLog.waitFailure = new CordilleraError('UNAVAILABLE')
    expect(await post('/ranges/2/merge?wait=true')).toMatchObject({ status: 202 })
  })

  it.each(['wait=1', 'wait=yes', 'wait=', 'timeoutMs=5', 'wait=false&timeoutMs=5', 'wait=true&timeoutMs=0', 'x=1'])(
    'refuses ?%s',
    async (query) => {
      expect((await post(`/nodes/1/drain?${query}`)).json()).toMatchObject({ status: 400, code: 'BAD_REQUEST' })
      expect(requests()).toEqual([])
    },
  )
})

describe('the key of a split', () => {
  const split = (rangeId: number, key: string, query = '') => post(`/ranges/${rangeId}/split${query}`, { key })

  it('is a key of the keyspace of the range', async () => {
    served.node.rangeList = [range(4, 'orders', '\xff', null)]
    await split(4, 'ffee', '?encoding=hex')
    await split(4, '__4', '?encoding=base64url')
    served.node.rangeList = [range(5, '', '', null)]
    await split(5, '\u00e9')
    await split(5, 'm', '?keyspace=users')
    await split(5, '', '?keyspace=users')
    expect(requests().map((request) => 'key' in request && request.key)).toEqual([
      'orders\x00\xff\xee',
      'orders\x00\xff\xfe',
      'default\x00\xc3\xa9',
      'users\x00m',
      'users\x00',
    ])
  })

  it('outside of the range is refused with its bounds', async () => {
    const detail = 'the key is not in range 2, which holds ["", "8") of keyspace default; range 3 holds it'
    expect((await split(2, '9')).json()).toMatchObject({ status: 400, code: 'BAD_REQUEST', detail })
    expect((await split(3, '1')).json().detail).toContain('range 3, which holds ["8", the end) of keyspace default')
    served.node.rangeList = [range(4, 'orders', '\xff', null)]
    expect((await split(4, 'a')).json().detail).toContain('["_w", the end) of keyspace orders in base64url')
    expect(requests()).toEqual([])
  })

  it('that is a boundary already is a conflict that says so', async () => {
    const detail = 'the key is a boundary already: range 3 begins there'
    expect((await split(3, '8')).json()).toMatchObject({ status: 409, code: 'CONFLICT', detail })
    expect((await split(2, '8')).json()).toMatchObject({ status: 409, code: 'CONFLICT', detail })
  })

  it.each([
    ['?encoding=hex', 'xyz', 400, 'BAD_ENCODING'],
    ['?encoding=base64url', '====', 400, 'BAD_ENCODING'],
    ['?encoding=rot13', 'a', 400, 'BAD_REQUEST'],
    ['?keyspace=a%2Fb', 'a', 400, 'BAD_REQUEST'],
    ['', '\ud800', 400, 'BAD_ENCODING'],
    ['', 'k'.repeat(4097), 413, 'KEY_TOO_LARGE'],
  ])('%s is refused when it is no key', async (query, key, status, code) => {
    expect((await split(2, key, query)).json()).toMatchObject({ status, code })
    expect(requests()).toEqual([])
  })

  it('is needed for what is said about it, and not taken for the system range', async () => {
    expect((await post('/ranges/2/split?encoding=hex')).json().detail).toContain('there is no key')
    expect((await post('/ranges/2/split?keyspace=a', {})).json().detail).toContain('there is no key')
    expect((await split(1, 'a')).json()).toMatchObject({ status: 400 })
    expect((await split(9, 'a')).json()).toMatchObject({ status: 404 })
  })
})

describe('bodies', () => {
  it.each([
    ['/ranges/2/transfer-leader', undefined, 'the body is missing: a JSON object with node'],
    ['/ranges/2/transfer-leader', '', 'the body is missing: a JSON object with node'],
    ['/ranges/2/transfer-leader', '{}', 'the member node is missing'],
    ['/ranges/2/transfer-leader', '{"node":"2"}', 'node is a whole number of at least 1, not "2"'],
    ['/ranges/2/transfer-leader', '{"node":true}', 'node is a whole number of at least 1, not true'],
    ['/ranges/2/transfer-leader', '{"node":null}', 'node is a whole number of at least 1, not null'],
    ['/ranges/2/transfer-leader', '{"node":0}', 'node is a whole number of at least 1, not 0'],
    ['/ranges/2/transfer-leader', '{"node":1.5}', 'node is a whole number of at least 1, not 1.5'],
    ['/ranges/2/transfer-leader', '{"node":1e300}', 'node is a whole number of at least 1, not 1e+300'],
    ['/ranges/2/transfer-leader', '{"node":2,"nod":2}', 'unknown member "nod"; known are node'],
    ['/ranges/2/transfer-leader', '{"node":2,"__proto__":{}}', 'unknown member "__proto__"; known are node'],
    ['/ranges/2/transfer-leader', '[2]', 'the body is a JSON object, not [2]'],
    ['/ranges/2/transfer-leader', 'null', 'the body is a JSON object, not null'],
    ['/ranges/2/transfer-leader', '"x"', 'the body is a JSON object, not "x"'],
    ['/ranges/2/replicas', undefined, 'the body is missing: a JSON object with add, remove'],
    ['/ranges/2/replicas', '{}', 'the body has at least one of add, remove'],
    ['/ranges/2/replicas', '{"add":1,"remove":1}', 'add and remove are both node 1: nothing would change'],
    ['/ranges/2/split', '{"key":7}', 'key is a text, not 7'],
    ['/ranges/2/merge', '{"with":3}', 'unknown member "with"; known are version'],
    ['/nodes/2/drain', '0', 'the body is a JSON object, not 0'],
    ['/ranges/2/recover', '{"acceptDataLoss":"yes"}', 'acceptDataLoss is true or false, not "yes"'],
  ])('%s %s', async (path, body, detail) => {
    expect((await post(path, body)).json()).toMatchObject({ status: 400, code: 'BAD_REQUEST', detail })
    expect(requests()).toEqual([])
  })

  it('that are not JSON, not UTF-8 or too long are refused', async () => {
    expect((await post('/nodes/2/drain', '{')).json().detail).toMatch(/^the body is not JSON: /)
    const invalid = { method: 'POST', path: '/v1/admin/nodes/2/drain', body: Buffer.from([0x22, 0xff, 0x22]) }
    expect((await served.send(invalid)).json()).toMatchObject({ status: 400, detail: 'the body is not UTF-8' })
    expect((await post('/ranges/2/split', `{"key":"${'k'.repeat(70_000)}"}`)).json()).toMatchObject({
      status: 400,
      code: 'BAD_REQUEST',
      detail: 'the body has at most 65536 bytes',
    })
    expect(requests()).toEqual([])
  })

  it('with a Content-Type that is none are refused, with a word of what would do', async () => {
    const path = '/v1/admin/ranges/2/transfer-leader'
    const answer = await served.send({ method: 'POST', path, body: '{"node":2}', headers: { 'content-type': ';;' } })
    expect(answer.json()).toMatchObject({
      code: 'BAD_REQUEST',
      detail: 'the Content-Type is not a media type: leave it out, or say application/json',
    })
  })

  it.each(['application/json', 'application/x-www-form-urlencoded', 'text/plain; charset=x', ''])(
    'are JSON whatever they are called: %s',
    async (type) => {
      const path = '/v1/admin/ranges/2/transfer-leader'
      const answer = await served.send({ method: 'POST', path, body: '{"node":2}', headers: { 'content-type': type } })
      expect([202, 400]).toContain(answer.status)
      if (type !== '') expect(answer.status).toBe(202)
    },
  )
})

describe('recovery', () => {
  it('asks for a confirmation, and says what may be lost', async () => {
    for (const body of [undefined, {}, { acceptDataLoss: false }]) {
      expect((await post('/ranges/2/recover', body)).json()).toMatchObject({
        status: 400,
        code: 'BAD_REQUEST',
        detail: 'the last 3 entries of node 2 may be lost',
      })
    }
    expect(served.node.operatorLog.list).toEqual([])
    expect(operatorOf(await post('/ranges/2/recover', { acceptDataLoss: true })).kind).toBe('recover')
  })
})

describe('operators', () => {
  it('are listed, found, waited for and cancelled', async () => {
    await post('/nodes/1/drain')
    await post('/ranges/2/merge')
    const list = (await served.get('/v1/admin/operators')).json<{ operators: OperatorInfo[] }>().operators
    expect(list.map(({ operatorId }) => operatorId)).toEqual([2, 1])
    expect(operatorOf(await served.get('/v1/admin/operators/1'))).toEqual(list[1])
    expect(served.node.operatorLog.waits).toEqual([0])
    const waiting = served.get('/v1/admin/operators/1?wait=true&timeoutMs=60000')
    await until(() => served.node.operatorLog.waitingCount === 1)
    const cancelled = await served.send({ method: 'DELETE', path: '/v1/admin/operators/1' })
    expect([cancelled.status, operatorOf(cancelled).state]).toEqual([200, 'cancelled'])
    expect(await waiting).toMatchObject({ status: 200 })
    expect(operatorOf(await waiting).state).toBe('cancelled')
    const again = await served.send({ method: 'DELETE', path: '/v1/admin/operators/1' })
    expect(again.json()).toMatchObject({ status: 409, code: 'CONFLICT' })
  })

  it('that are not there are 404', async () => {
    for (const method of ['GET', 'DELETE']) {
      expect((await served.send({ method, path: '/v1/admin/operators/7' })).json()).toMatchObject({ code: 'NOT_FOUND' })
    }
    expect((await served.get('/v1/admin/operators/x')).status).toBe(404)
  })
})

describe('explanations and hashes', () => {
  it('are of one range, or of all', async () => {
    const explained = await served.get('/v1/admin/ranges/2/explain')
    expect(explained.json()).toEqual(await served.node.placement.explain(2))
    expect((await served.get('/v1/admin/ranges/9/explain')).status).toBe(404)
    const all = (await served.get('/v1/admin/hash')).json<{ ranges: object[] }>()
    expect(all).toEqual({ ranges: await served.node.placement.hashes(undefined) })
    expect((await served.get('/v1/admin/hash?range=2')).json()).toEqual({ ranges: [all.ranges[1]] })
    expect((await served.get('/v1/admin/hash?range=9')).status).toBe(404)
    for (const query of ['range=x', 'range=0', 'range=', 'key=a']) {
      expect((await served.get(`/v1/admin/hash?${query}`)).json()).toMatchObject({ code: 'BAD_REQUEST' })
    }
  })
})

describe('settings', () => {
  const put = (body: string) => served.send({ method: 'PUT', path: '/v1/admin/settings', body })

  it('are flat, and merged by PUT', async () => {
    const before = (await served.get('/v1/admin/settings')).json<object>()
    expect(before).toEqual(served.node.operatorLog.current)
    const changed = { placementEnabled: false, balanceTolerance: 0.5 }
    expect((await put(JSON.stringify(changed))).json()).toEqual({ ...before, ...changed })
    expect((await put('{}')).json()).toEqual({ ...before, ...changed })
  })

  it.each([
    ['', 'the body is missing'],
    ['{"replica":3}', 'unknown member "replica"; known are placementEnabled, replicas,'],
    ['{"replicas":0}', 'replicas is a whole number from 1 to 9, not 0'],
    ['{"replicas":"3"}', 'replicas is a whole number from 1 to 9, not "3"'],
    ['{"placementEnabled":1}', 'placementEnabled is true or false, not 1'],
    ['{"balanceTolerance":1.5}', 'balanceTolerance is a number from 0 to 1, not 1.5'],
    ['{"replicas":5,"movesPerNodeMax":null}', 'movesPerNodeMax is a whole number from 1 to 64, not null'],
    ['{"rangeMergeBytes":33554433}', 'rangeMergeBytes must be at most half of rangeSplitBytes'],
  ])('%s is refused', async (body, detail) => {
    const before = served.node.operatorLog.current
    const answer = await put(body)
    expect(answer.json()).toMatchObject({ status: 400, code: 'BAD_REQUEST' })
    expect(answer.json().detail).toContain(detail)
    expect(served.node.operatorLog.current).toEqual(before)
  })
})

describe('other methods', () => {
  it.each([
    ['/v1/admin/nodes/1/drain', 'POST'],
    ['/v1/admin/ranges/2/split', 'POST'],
    ['/v1/admin/ranges/2/explain', 'GET, HEAD'],
    ['/v1/admin/operators', 'GET, HEAD'],
    ['/v1/admin/operators/1', 'GET, HEAD, DELETE'],
    ['/v1/admin/settings', 'GET, HEAD, PUT'],
    ['/v1/openapi.json', 'GET, HEAD'],
  ])('of %s are 405', async (path, allow) => {
    for (const method of ['GET', 'POST', 'PUT', 'DELETE', 'PATCH', 'OPTIONS']) {
      if (allow.split(', ').includes(method)) continue
      const answer = await served.send({ method, path, body: '{"a":' })
      expect(answer.json()).toMatchObject({ status: 405, code: 'METHOD_NOT_ALLOWED' })
      expect(answer.headers.allow).toBe(allow)
    }
  })
})

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve))
}
