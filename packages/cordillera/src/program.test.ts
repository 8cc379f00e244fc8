import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { AnsweringNode, json, problem } from './testing/answering-node.js'

/** The command line against a node that answers what it is told: what is sent, what is printed, and the exit status. */
const node = new AnsweringNode()
beforeAll(() => node.listen())
afterAll(() => node.close())
beforeEach(() => node.forget())

const written = (res: ServerResponse) => res.writeHead(204, { etag: '"42"' }).end()

describe('kv', () => {
  it('get prints the raw bytes and nothing else', async () => {
    node.answer = (res) => res.end(Buffer.from([0, 255, 10, 128]))
    expect(await node.run(['kv', 'get', 'a'])).toEqual({ status: 0, out: '\x00\xff\n\x80', err: '' })
    expect(node.received).toEqual([{ method: 'GET', url: '/v1/kv/a', body: '' }])
  })

  it('get prints an entry with its version as JSON, like a scan', async () => {
    const get = async (body: Buffer, ...args: string[]) => {
      node.answer = (res) => res.writeHead(200, { etag: '"42"' }).end(body)
      const { status, out } = await node.run(['kv', 'get', ...args, '-o', 'json'])
      expect([status, out.at(-1)]).toEqual([0, '\n'])
      return JSON.parse(Buffer.from(out, 'latin1').toString('utf8'))
    }
    expect(await get(Buffer.from('v \u00e9'), 'k\u00e9')).toEqual({ key: 'k\u00e9', value: 'v \u00e9', version: 42 })
    expect(await get(Buffer.of(0xff), 'k')).toEqual({ key: 'aw', value: '_w', version: 42, encoding: 'base64url' })
    expect(await get(Buffer.of(0xff), '6b', '--encoding', 'hex')).toEqual({ key: '6b', value: 'ff', version: 42 })
  })

  it('get of a missing key says so and exits with 1', async () => {
    node.answer = problem(404, 'KEY_NOT_FOUND')
    expect(await node.run(['kv', 'get', 'a'])).toEqual({
      status: 1,
      out: '',
      err: 'cordillera: KEY_NOT_FOUND: the detail\n',
    })
  })

  it('put sends the argument, or standard input', async () => {
    node.answer = written
    expect(await node.run(['kv', 'put', 'a', 'v \u00e9'])).toEqual({ status: 0, out: 'version 42\n', err: '' })
    expect(await node.run(['kv', 'put', 'a', ''])).toMatchObject({ status: 0 })
    expect(await node.run(['kv', 'put', 'a', '-o', 'json'], { stdin: '\x00\xff' })).toMatchObject({
      out: '{"version":42}\n',
    })
    expect(node.received.map(({ body }) => body)).toEqual(['v \xc3\xa9', '', '\x00\xff'])
    expect((await node.run(['kv', 'put', 'a'], { stdin: 'x'.repeat((1 << 20) + 1) })).err).toContain('VALUE_TOO_LARGE')
    expect(node.received).toHaveLength(3)
  })

  it.each([
    ['a/../b', '/v1/kv/a%2F..%2Fb'],
    ['.', '/v1/kv/2e?encoding=hex'],
    ['..', '/v1/kv/2e2e?encoding=hex'],
    ['%2e?#\u00e9', '/v1/kv/%252e%3F%23%C3%A9'],
  ])('sends the key %s as it is', async (key, url) => {
    node.answer = written
    await node.run(['kv', 'del', key])
    expect(node.received).toEqual([{ method: 'DELETE', url, body: '' }])
  })

  it('takes keys in other spellings', async () => {
    node.answer = written
    await node.run(['kv', 'del', '00ff', '--encoding', 'hex'])
    expect(node.received[0]!.url).toBe('/v1/kv/00ff?encoding=hex')
    expect((await node.run(['kv', 'del', 'x', '--encoding', 'rot13'])).err).toContain('CONFIG_INVALID')
  })

  it('takes a keyspace', async () => {
    node.answer = (res, req) => (req.url!.startsWith('/v1/kv?') ? json({ entries: [] })(res, req) : written(res))
    const commands = [
      ['get', 'a'],
      ['put', 'a', 'v'],
      ['del', '..'],
      ['scan', '--prefix', 'a'],
    ]
    for (const args of commands)
      expect(await node.run(['kv', ...args, '--keyspace', 'orders'])).toMatchObject({ status: 0 })
    expect(node.received.map(({ url }) => url)).toEqual([
      '/v1/kv/a?keyspace=orders',
      '/v1/kv/a?keyspace=orders',
      '/v1/kv/2e2e?encoding=hex&keyspace=orders',
      '/v1/kv?keyspace=orders&prefix=a',
    ])
  })

  it('takes a spread keyspace', async () => {
    node.answer = (res, req) => (req.url!.startsWith('/v1/kv?') ? json({ entries: [] })(res, req) : written(res))
    for (const args of [
      ['get', 'a'],
      ['put', 'a', 'v'],
      ['del', '..'],
      ['scan', '--prefix', 'a'],
    ])
      expect(await node.run(['kv', ...args, '--keyspace', 'orders', '--spread'])).toMatchObject({ status: 0 })
    expect(node.received.map(({ url }) => url)).toEqual([
      '/v1/kv/a?keyspace=orders&spread=true',
      '/v1/kv/a?keyspace=orders&spread=true',
      '/v1/kv/2e2e?encoding=hex&keyspace=orders&spread=true',
      '/v1/kv?keyspace=orders&spread=true&prefix=a',
    ])
  })

  it('sends conditions and idempotency keys as headers, and none unasked', async () => {
    node.answer = written
    const sent = async (...args: string[]) => {
      expect(await node.run(['kv', ...args])).toEqual({ status: 0, out: 'version 42\n', err: '' })
      const headers = node.receivedHeaders.at(-1)!
      return [headers['if-match'], headers['if-none-match'], headers['idempotency-key']]
    }
    expect(await sent('put', 'a', 'v')).toEqual([undefined, undefined, undefined])
    expect(await sent('put', 'a', 'v', '--if-match', '41')).toEqual(['"41"', undefined, undefined])
    expect(await sent('put', 'a', 'v', '--if-none-match')).toEqual([undefined, '*', undefined])
    expect(await sent('del', 'a', '--if-match', '*')).toEqual(['*', undefined, undefined])
    expect(await sent('del', 'a', '--idempotency-key', 'k-1')).toEqual([undefined, undefined, 'k-1'])
  })

  it.each([
    [['put', 'a', 'v', '--if-match', '0'], '--if-match'],
    [['put', 'a', 'v', '--if-match', '"41"'], '--if-match'],
    [['put', 'a', 'v', '--if-match', '1', '--if-none-match'], '--if-none-match'],
    [['del', 'a', '--if-none-match'], '--if-none-match'],
    [['get', 'a', '--if-match', '1'], '--if-match'],
    [['put', 'a', 'v', '--idempotency-key', 'a\nb'], '--idempotency-key'],
    [['put', 'a', 'v', '--idempotency-key', ''], '--idempotency-key'],
  ])('%j is refused, and nothing is sent', async (args, word) => {
    const { status, err } = await node.run(['kv', ...args])
    expect(status).toBe(1)
    expect(err).toMatch(/^cordillera: CONFIG_INVALID: /)
    expect(err).toContain(word)
    expect(node.received).toEqual([])
  })

  it('says when a condition does not hold', async () => {
    node.answer = problem(412, 'VERSION_MISMATCH')
    expect(await node.run(['kv', 'put', 'a', 'v', '--if-match', '1'])).toEqual({
      status: 1,
      out: '',
      err: 'cordillera: VERSION_MISMATCH: the detail\n',
    })
  })

  it('scan prints a table, or the body', async () => {
    const body = {
      entries: [
        { key: 'a\n', value: 'x'.repeat(100), version: 7 },
        { key: 'YQ', version: 12, encoding: 'base64url' },
      ],
      cursor: 'c1',
    }
    node.answer = json(body)
    const table = await node.run(['kv', 'scan', '--prefix', 'a b', '--limit', '5', '--reverse', '--no-values'])
    expect(node.received[0]!.url).toBe('/v1/kv?prefix=a+b&limit=5&reverse=true&values=false')
    expect(table.out).toContain('a\\u000a')
    expect(table.out).toContain(`${'x'.repeat(60)}…`.slice(0, 60))
    expect(table.err).toContain('--cursor c1')
    expect(await node.run(['kv', 'scan', '-o', 'json'])).toEqual({
      status: 0,
      out: `${JSON.stringify(body)}\n`,
      err: '',
    })
    expect(node.received[1]!.url).toBe('/v1/kv')
  })
})

describe('errors', () => {
  it('are one line with a code, what to do, and status 1', async () => {
    node.answer = problem(503, 'UNAVAILABLE')
    expect((await node.run(['status'])).err).toBe(
      'cordillera: UNAVAILABLE: the detail (try again, or another node with --endpoint)\n',
    )
    node.answer = (res) => res.writeHead(500).end('<html>')
    expect((await node.run(['status'])).err).toContain('is this a Cordillera node?')
    node.answer = problem(418, 'TEAPOT')
    expect((await node.run(['status'])).err).toContain('INTERNAL')
  })

  it('say when nobody listens, and when a write may have arrived', async () => {
    for (const address of [await closedEndpoint(), 'http://127.0.0.1:1']) {
      const gone = { environment: { CORDILLERA_ENDPOINT: address } }
      expect((await node.run(['kv', 'put', 'a', 'b'], gone)).err).toContain(`UNAVAILABLE: no answer from ${address}`)
    }
    node.answer = (res) => res.destroy()
    expect((await node.run(['kv', 'put', 'a', 'b'])).err).toMatch(/OUTCOME_UNKNOWN: .*read the key/)
    expect((await node.run(['kv', 'get', 'a'])).err).toContain('UNAVAILABLE')
  })

  it.each([
    [['strat'], 'start'],
    [['start', '--dtaa', 'x'], '--data'],
    [['kv', 'get'], 'key'],
    [['kv', 'get', 'a', 'b'], 'arguments'],
    [['start', '--data'], '--data'],
    [['status', '-o', 'xml'], '--output'],
    [['start'], '--data is missing'],
    [['start', '--data', '/d', '--init', '--join', 'a:1'], '--init'],
    [[], '--help'],
    [['kv'], '--help'],
  ])('%j is refused with a hint', async (args, word) => {
    const { status, err } = await node.run(args)
    expect(status).toBe(1)
    expect(err).toMatch(/^cordillera: CONFIG_INVALID: /)
    expect(err).toContain(word)
    expect(err.trimEnd().split('\n')).toHaveLength(1)
  })

  it('--help and --version are none', async () => {
    expect((await node.run(['--help'])).out).toContain('kv')
    expect(await node.run(['--version'])).toMatchObject({ status: 0, out: '0.1.0\n' })
    expect((await node.run(['start', '--help'])).out).toContain('--initial-ranges <N>')
  })
})

async function closedEndpoint(): Promise<string> {
  const probe = createServer()
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve))
  const { port } = probe.address() as AddressInfo
  await new Promise((resolve) => probe.close(resolve))
  return `http://127.0.0.1:${port}`
}

describe('the configuration file', () => {
  const directory = mkdtempSync(join(tmpdir(), 'cordillera-config-'))
  const path = join(directory, 'config.json')
  afterAll(() => rmSync(directory, { recursive: true }))

  it('is named by a flag or a variable, and is below both', async () => {
    writeFileSync(path, JSON.stringify({ endpoint: node.endpoint, output: 'json' }))
    node.answer = json({ a: 1 })
    const environment = { CORDILLERA_ENDPOINT: undefined }
    expect((await node.run(['status', '--config', path], { environment })).out).toBe('{"a":1}\n')
    expect((await node.run(['status'], { environment: { ...environment, CORDILLERA_CONFIG: path } })).out).toBe(
      '{"a":1}\n',
    )
    expect((await node.run(['status', '--config', path, '-o', 'table'], { environment })).out).toContain('CLUSTER')
  })

  it.each(['{', '[]', 'null', '{"outptu":"json"}'])('%s is refused', async (content) => {
    writeFileSync(path, content)
    expect((await node.run(['status', '--config', path])).err).toMatch(
      /^cordillera: CONFIG_INVALID: the configuration file/,
    )
  })

  it('must be there when it is named', async () => {
    expect((await node.run(['status', '--config', `${path}.no`])).err).toContain('ENOENT')
  })
})
