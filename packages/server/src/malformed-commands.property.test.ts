import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Served, serveFake } from './testing/http-client.js'

/** Whatever a client sends to a command: an answer, never 500, and every refusal is a problem with a code. */
let served: Served
beforeAll(async () => {
  served = await serveFake()
})
afterAll(() => served.close())

const commands = [
  ['POST', '/v1/admin/nodes/1/drain'],
  ['POST', '/v1/admin/ranges/2/split'],
  ['POST', '/v1/admin/ranges/2/merge'],
  ['POST', '/v1/admin/ranges/2/transfer-leader'],
  ['POST', '/v1/admin/ranges/2/replicas'],
  ['POST', '/v1/admin/ranges/2/recover'],
  ['PUT', '/v1/admin/settings'],
  ['DELETE', '/v1/admin/operators/1'],
] as const
const command = fc.constantFrom(...commands)

const scalar = fc.oneof(
  fc.integer({ min: -1, max: 4 }),
  fc.double(),
  fc.boolean(),
  fc.constant(null),
  fc.string({ unit: 'binary' }),
  fc.constantFrom('1', '', '\ud800', 2 ** 53, 1e308),
)
const name = fc.oneof(
  fc.constantFrom('node', 'add', 'remove', 'key', 'acceptDataLoss', 'replicas', 'rangeSplitBytes', 'placementEnabled'),
  fc.constantFrom('__proto__', 'constructor', 'toString', 'hasOwnProperty', 'length'),
  fc.string(),
)
const object = fc.array(fc.tuple(name, fc.oneof(scalar, fc.jsonValue())), { maxLength: 3 })
const body = fc.oneof(
  {
    weight: 3,
    arbitrary: object.map((members) => members.map(([key, value]) => `${JSON.stringify(key)}:${json(value)}`)),
  },
  { weight: 1, arbitrary: fc.jsonValue().map((value) => json(value)) },
  { weight: 1, arbitrary: fc.uint8Array({ maxLength: 40 }) },
  {
    weight: 1,
    arbitrary: fc.constantFrom('', '{', '{"node":', '[[[[', `${'['.repeat(30_000)}`, '\ufeff{}', '{"node":01}'),
  },
)
const json = (value: unknown): string => JSON.stringify(value) ?? 'null'
const query = fc.constantFrom(
  ...[
    '',
    '?wait=true&timeoutMs=1',
    '?encoding=hex',
    '?encoding=base64url',
    '?keyspace=a',
    '?keyspace=%00',
    '?wait=%ff',
  ],
  ...['?x', '?timeoutMs=1', '?wait=true&wait=true', '?__proto__=1', '?wait[]=true'],
)
const contentType = fc.constantFrom(undefined, 'application/json', 'text/plain', 'x', ';', 'multipart/form-data')

describe('a command', () => {
  it('is answered, whatever its body', async () => {
    await fc.assert(
      fc.asyncProperty(command, body, query, contentType, async ([method, path], content, search, type) => {
        const bytes = Array.isArray(content) ? `{${content.join(',')}}` : content
        const answer = await served.send({
          method,
          path: path + search,
          body: bytes,
          headers: type === undefined ? {} : { 'content-type': type },
        })
        expect(answer.status).not.toBe(500)
        if (answer.status < 300) return
        expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/)
        const problem = answer.json()
        expect(problem.status).toBe(answer.status)
        expect(problem.detail.length).toBeGreaterThan(0)
        expect(problem.detail.length).toBeLessThan(1_000)
      }),
      { numRuns: 400 },
    )
    expect(served.logged).toEqual([])
    for (const request of served.node.operatorLog.requests) {
      for (const value of Object.values(request)) expect(['string', 'number']).toContain(typeof value)
    }
  })

  it('is answered, whatever its path', async () => {
    const part = fc.oneof(
      fc.constantFrom(
        'nodes',
        'ranges',
        'operators',
        'settings',
        'drain',
        'split',
        '..',
        '',
        '%2e',
        '%',
        '0',
        '1',
        '2',
      ),
      fc.constantFrom('9'.repeat(16), '9'.repeat(17), '-1', '1e3', '0x1', '1.0', 'explain', 'recover', '%00'),
    )
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('GET', 'POST', 'PUT', 'DELETE', 'HEAD', 'OPTIONS', 'PATCH'),
        fc.array(part, { minLength: 1, maxLength: 4 }),
        async (method, parts) => {
          const answer = await served.send({ method, path: `/v1/admin/${parts.join('/')}` })
          expect([200, 202, 400, 404, 405, 409]).toContain(answer.status)
        },
      ),
      { numRuns: 300 },
    )
  })
})
