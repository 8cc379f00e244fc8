import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Served, serveFake } from './testing/http-client.js'

/** Conditional requests in any order against a naive twin, and headers that nobody should send. */
let served: Served
beforeAll(async () => {
  served = await serveFake()
})
afterAll(() => served.close())

const PATH = '/v1/kv/a'
const method = fc.constantFrom('PUT', 'DELETE', 'GET', 'HEAD')
const step = fc.record({
  method,
  header: fc.constantFrom('if-match', 'if-none-match'),
  /** The present version, one that never was, or any. */
  field: fc.constantFrom('present', 'other', '*', undefined),
})

describe('conditional requests', () => {
  it('do what a twin with one variable does', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 20 }), async (steps) => {
        served.node.data.clear()
        let present: string | undefined
        for (const { method, header, field } of steps) {
          const isWrite = method === 'PUT' || method === 'DELETE'
          if (isWrite && header === 'if-none-match' && field !== '*' && field !== undefined) continue
          const value = field === 'present' ? (present ?? '"8"') : field === 'other' ? '"9"' : field
          const headers = value === undefined ? {} : { [header]: value }
          const answer = await served.send({ method, path: PATH, headers, ...(method === 'PUT' && { body: 'v' }) })
          const isMatch = present !== undefined && (value === '*' || value === present)
          const holds = value === undefined || isMatch === (header === 'if-match')
          if (isWrite) {
            expect(answer.status).toBe(holds ? 204 : 412)
            if (holds) present = method === 'PUT' ? answer.headers.etag : undefined
          } else if (present === undefined) expect(answer.status).toBe(404)
          else expect(answer.status).toBe(holds ? 200 : header === 'if-match' ? 412 : 304)
          if (answer.status !== 404 && !(isWrite && holds)) expect(answer.headers.etag).toBe(present)
        }
      }),
    )
  })

  it('with any headers are answered with a code, and write nothing when they are refused', async () => {
    const field = fc.oneof(
      fc.constantFrom('*', '"1"', 'W/"1"', '"1", "2"', '', 'k', '"k"'),
      fc.array(fc.constantFrom(...'W/"*1k, \\;=\t\xe9'), { maxLength: 10 }).map((chars) => chars.join('')),
      fc.string({ unit: fc.integer({ min: 0x20, max: 0xff }).map((code) => String.fromCharCode(code)) }),
    )
    const names = ['if-match', 'if-none-match', 'idempotency-key']
    const headers = fc.dictionary(
      fc.constantFrom(...names),
      field.map((text) => text.replaceAll('\x7f', '')),
    )
    await fc.assert(
      fc.asyncProperty(method, headers, async (method, headers) => {
        const before = served.node.guards.length
        const answer = await served.send({ method, path: PATH, headers, ...(method === 'PUT' && { body: 'v' }) })
        expect([200, 204, 304, 400, 404, 412, 422]).toContain(answer.status)
        if (answer.status >= 400 && method !== 'HEAD') {
          expect(answer.headers['content-type']).toBe('application/problem+json')
          expect(answer.json().status).toBe(answer.status)
        }
        if (answer.status === 400) expect(served.node.guards.length).toBe(before)
      }),
      { numRuns: 500 },
    )
    expect(served.logged).toEqual([])
  })
})
