import { Buffer } from 'node:buffer'
import { afterEach, describe, expect, it } from 'vitest'
import { RawConnection, type Served, serveFake } from './testing/http-client.js'

/** What only a raw socket can send, and what happens when the server closes or the store fails. */
let served: Served
const connections: RawConnection[] = []
afterEach(async () => {
  for (const connection of connections.splice(0)) connection.destroy()
  await served.close()
})

async function start(limits = {}): Promise<void> {
  served = await serveFake(limits)
}

function open(): RawConnection {
  const connection = new RawConnection(served.port)
  connections.push(connection)
  return connection
}

const head = (method: string, path: string, ...headers: string[]) =>
  `${[`${method} ${path} HTTP/1.1`, 'Host: x', ...headers].join('\r\n')}\r\n\r\n`

describe('a request that is not whole', () => {
  it.each([
    ['with a declared length', `${head('PUT', '/v1/kv/half', 'Content-Length: 10')}half`],
    ['in chunks', `${head('PUT', '/v1/kv/half', 'Transfer-Encoding: chunked')}4\r\nhalf\r\n`],
  ])('writes nothing when its body stops half-way, %s', async (_, bytes) => {
    await start()
    const connection = await open()
      .write(bytes)
      .end()
      .until((c) => c.closed)
    expect(connection.received).toMatch(/^HTTP\/1\.1 400 /)
    expect(connection.received).toContain('"code":"BAD_REQUEST"')
    const reset = open().write(bytes)
    await served.get('/livez')
    reset.destroy()
    expect((await served.get('/v1/kv/half')).status).toBe(404)
    expect(served.node.data.size).toBe(0)
  })

  it('begins nothing when it is a command', async () => {
    await start({ headTimeoutMs: 50, requestTimeoutMs: 50, sweepMs: 10 })
    const bytes = `${head('POST', '/v1/admin/nodes/1/drain', 'Content-Length: 10')}{`
    const ended = await open()
      .write(bytes)
      .end()
      .until((c) => c.closed)
    expect(ended.received).toMatch(/^HTTP\/1\.1 400 /)
    const slow = await open()
      .write(bytes)
      .until((c) => c.closed)
    expect(slow.received).toContain('did not arrive in time')
    expect(served.node.operatorLog.requests).toEqual([])
  })

  it('is refused when it takes too long', async () => {
    await start({ headTimeoutMs: 50, requestTimeoutMs: 50, sweepMs: 10 })
    const connection = await open()
      .write(`${head('PUT', '/v1/kv/slow', 'Content-Length: 4')}v`)
      .until((c) => c.closed)
    expect(connection.received).toContain('did not arrive in time')
    expect(served.node.data.size).toBe(0)
  })

  it.each([
    ['garbage', '\x16\x03\x01\x02garbage\r\n\r\n'],
    ['no version', 'GET /v1/kv/a\r\n\r\n'],
    ['a bad header', 'GET /v1/kv/a HTTP/1.1\r\nHost x\r\n\r\n'],
    ['two lengths', head('PUT', '/v1/kv/a', 'Content-Length: 1', 'Content-Length: 2')],
    ['length and chunks', head('PUT', '/v1/kv/a', 'Content-Length: 1', 'Transfer-Encoding: chunked')],
    ['a bad chunk', `${head('PUT', '/v1/kv/a', 'Transfer-Encoding: chunked')}zz\r\n`],
    ['no host', 'GET /v1/kv/a HTTP/1.1\r\n\r\n'],
    ['a strange expectation', head('PUT', '/v1/kv/a', 'Content-Length: 1', 'Expect: miracles')],
    ['headers without end', `GET /v1/kv/a HTTP/1.1\r\n${'X-Long: 1234567890\r\n'.repeat(5_000)}`],
  ])('that is malformed (%s) answers 400 and closes', async (_, bytes) => {
    await start()
    const connection = await open()
      .write(bytes)
      .until((c) => c.closed)
    expect(connection.received).toMatch(/^HTTP\/1\.1 400 /)
    expect(connection.received).toContain('Content-Type: application/problem+json')
    expect(connection.received).toContain('"code":"BAD_REQUEST"')
    expect(served.node.data.size).toBe(0)
    expect((await served.get('/livez')).status).toBe(200)
  })

  it('does not spoil the answer to the one before it', async () => {
    await start()
    served.node.holding = true
    const connection = open().write(`${head('GET', '/v1/kv/a')}\x00garbage\r\n\r\n`)
    await until(() => served.node.held.length === 1)
    await served.get('/livez')
    for (const answer of served.node.held.splice(0)) answer()
    await connection.until((c) => c.closed)
    expect(connection.received).toMatch(/^HTTP\/1\.1 404 /)
    expect(connection.received).not.toContain('BAD_REQUEST')
  })
})

describe('pipelined requests', () => {
  it('are answered in order', async () => {
    await start()
    await served.send({ method: 'PUT', path: '/v1/kv/there', body: 'x' })
    const bytes = `${head('PUT', '/v1/kv/p', 'Content-Length: 1')}1${head('GET', '/v1/kv/there')}${head('GET', '/v1/kv/q')}`
    const connection = await open()
      .write(bytes)
      .until((c) => c.received.includes('KEY_NOT_FOUND'))
    expect(connection.received.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 204', 'HTTP/1.1 200', 'HTTP/1.1 404'])
  })
})

describe('Expect: 100-continue', () => {
  it('is answered before the body is sent', async () => {
    await start()
    const connection = open().write(head('PUT', '/v1/kv/e', 'Content-Length: 2', 'Expect: 100-continue'))
    await connection.until((c) => c.received.includes('HTTP/1.1 100 Continue'))
    expect(served.node.data.size).toBe(0)
    await connection.write('ok').until((c) => c.received.includes('HTTP/1.1 204'))
    expect(Buffer.from(served.node.data.get('default\x00e')!.value).toString()).toBe('ok')
  })

  it('is answered for a command, too', async () => {
    await start()
    const connection = open().write(
      head('POST', '/v1/admin/nodes/1/drain', 'Content-Length: 2', 'Expect: 100-continue'),
    )
    await connection.until((c) => c.received.includes('HTTP/1.1 100 Continue'))
    await connection.write('{}').until((c) => c.received.includes('HTTP/1.1 202'))
  })

  it('of a body that is too large is refused without it', async () => {
    await start()
    const length = `Content-Length: ${(1 << 20) + 1}`
    const connection = open().write(head('PUT', '/v1/kv/e', length, 'Expect: 100-continue'))
    await connection.until((c) => c.closed)
    expect(connection.received).toMatch(/^HTTP\/1\.1 413 /)
    expect(connection.received).toContain('Connection: close')
  })
})

describe('a body that nobody asked for', () => {
  it.each(['GET', 'DELETE', 'HEAD'])('of %s is dropped, and the connection goes on', async (method) => {
    await start()
    const body = 'x'.repeat(100_000)
    const connection = open().write(head(method, '/v1/kv/b', `Content-Length: ${body.length}`) + body)
    await connection.write(head('GET', '/livez')).until((c) => c.received.endsWith('ok\n'))
    expect(connection.received.match(/HTTP\/1\.1 \d+/g)).toHaveLength(2)
    expect(served.node.data.size).toBe(0)
  })
})

describe('bodies that are being received', () => {
  it('have a budget together', async () => {
    await start({ pendingBodyBytesMax: 1_000 })
    const first = open().write(head('PUT', '/v1/kv/one', 'Content-Length: 900') + 'x'.repeat(800))
    await served.get('/livez')
    const second = open().write(head('PUT', '/v1/kv/two', 'Content-Length: 900') + 'x'.repeat(800))
    await second.until((c) => c.received.includes('OVERLOADED'))
    await first.write('x'.repeat(100)).until((c) => c.received.includes('204'))
    expect((await served.send({ method: 'PUT', path: '/v1/kv/three', body: 'y'.repeat(1_000) })).status).toBe(204)
  })
})

describe('closing', () => {
  it('answers what is under way with Connection: close, and takes nothing more', async () => {
    await start()
    served.node.holding = true
    const busy = open().write(`${head('PUT', '/v1/kv/last', 'Content-Length: 1')}1`)
    await until(() => served.node.held.length === 1)
    const closed = served.server.close(10_000)
    await expect(served.get('/livez')).rejects.toThrow()
    for (const answer of served.node.held.splice(0)) answer()
    await busy.until((c) => c.closed)
    expect(busy.received).toMatch(/^HTTP\/1\.1 204 /)
    expect(busy.received).toContain('Connection: close')
    await closed
  })

  it('waits for no operator', async () => {
    await start()
    const command = served.send({ method: 'POST', path: '/v1/admin/nodes/1/drain?wait=true&timeoutMs=60000' })
    await until(() => served.node.operatorLog.waitingCount === 1)
    const question = served.get('/v1/admin/operators/1?wait=true&timeoutMs=60000')
    await until(() => served.node.operatorLog.waitingCount === 2)
    await served.server.close(10_000)
    expect([(await command).status, (await question).status]).toEqual([202, 200])
  })

  it('cuts off what takes longer than the bound', async () => {
    await start()
    served.node.holding = true
    const busy = open().write(head('GET', '/v1/kv/never'))
    await until(() => served.node.held.length === 1)
    await served.server.close(20)
    await busy.until((c) => c.closed)
    expect(busy.received).toBe('')
    for (const answer of served.node.held.splice(0)) answer()
  })
})

describe('health', () => {
  it('says starting, ready, not ready, draining and failed', async () => {
    await start()
    expect(await served.get('/livez')).toMatchObject({ status: 200, text: 'ok\n' })
    expect((await served.get('/readyz')).status).toBe(200)
    served.node.unready = 'somebody has asked to drain the node'
    const unready = await served.get('/readyz')
    expect(unready.json()).toMatchObject({ status: 503, code: 'UNAVAILABLE', detail: served.node.unready })
    expect(unready.headers['retry-after']).toBe('1')
    served.node.unready = undefined
    served.server.drain()
    expect((await served.get('/readyz')).json().detail).toContain('draining')
    expect((await served.get('/v1/kv/a')).status).toBe(404)
    served.server.fail('EIO')
    expect((await served.get('/livez')).json()).toMatchObject({ status: 503, detail: 'EIO' })
    expect((await served.send({ method: 'PUT', path: '/v1/kv/a', body: 'x' })).status).toBe(503)
    expect((await served.get('/v1/admin/cluster')).status).toBe(503)
  })
})

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setImmediate(resolve))
}
