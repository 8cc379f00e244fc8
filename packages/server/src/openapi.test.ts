import { errorKinds } from '@cordillera/base'
import { Validator } from '@seriousme/openapi-schema-validator'
import fastify from 'fastify'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { addApiRoutes } from './api-routes.js'
import { Gate } from './gate.js'
import { ServerMetrics } from './metrics.js'
import { RequestMeter } from './request-meter.js'
import { ClusterSettingsSchema } from './settings-schema.js'
import { type Served, serveFake, testClock } from './testing/http-client.js'

/** The OpenAPI document: valid, complete, and true of the server that gives it out. */
interface Operation {
  readonly operationId: string
  readonly parameters?: readonly { name: string; in: string }[]
  readonly requestBody?: {
    content: Record<string, { schema: { properties: object }; examples?: Record<string, { value: object }> }>
  }
  readonly responses: Readonly<Record<string, { description: string }>>
}
interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components: { readonly schemas: Record<string, { properties: Record<string, object> }> }
}

let served: Served
let document: Document
beforeAll(async () => {
  served = await serveFake()
  const answer = await served.get('/v1/openapi.json')
  expect(answer.headers['content-type']).toMatch(/^application\/json/)
  document = answer.json<Document>()
})
afterAll(() => served.close())

const METHODS = ['get', 'put', 'post', 'delete'] as const
const operations = () =>
  Object.entries(document.paths).flatMap(([path, item]) =>
    METHODS.flatMap((method) => (item[method] === undefined ? [] : [{ path, method, operation: item[method] }])),
  )

describe('the OpenAPI document', () => {
  it('is valid OpenAPI 3.1, and its references lead somewhere', async () => {
    const validator = new Validator()
    expect(await validator.validate({ ...structuredClone(document) })).toEqual({ valid: true })
    expect(validator.version).toBe('3.1')
    const references = JSON.stringify(document).matchAll(/"\$ref":"#\/components\/schemas\/(\w+)"/g)
    for (const [, name] of references) expect(document.components.schemas).toHaveProperty(name!)
  })

  it('has every route that is registered, and no other', async () => {
    const app = fastify()
    const registered: string[] = []
    app.addHook('onRoute', ({ method, url }) => {
      if (method !== 'HEAD') registered.push(`${String(method).toLowerCase()} ${url.replace(/:id\(.*?\)/, '{}')}`)
    })
    const gate = new Gate()
    const metrics = new ServerMetrics(gate, new RequestMeter())
    const logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
    addApiRoutes(app, { gate, metrics, clock: testClock, logger })
    const documented = operations()
      .filter(({ path }) => path !== '/v1/kv/{key}')
      .map(({ path, method }) => `${method} ${path.replace(/\{\w+\}/, '{}')}`)
    expect(documented.toSorted()).toEqual(registered.toSorted())
    await app.close()
  })

  it('is true of the methods of every path, single keys included', async () => {
    for (const [path, item] of Object.entries(document.paths)) {
      const target = path.replace('{key}', 'a').replace(/\{\w+\}/, '9')
      for (const method of METHODS) {
        const { status } = await served.send({ method: method.toUpperCase(), path: target })
        if (item[method] === undefined) expect([target, method, status]).toEqual([target, method, 405])
        else expect([target, method, status]).not.toEqual([target, method, 405])
      }
    }
  })

  it('lists every status that an answer had', async () => {
    for (const { path, method, operation } of operations()) {
      const target = path.replace('{key}', 'a').replace(/\{\w+\}/, '2')
      for (const body of [undefined, '{', '{"node":2}', '{"add":2}', '{"acceptDataLoss":true}']) {
        const { status } = await served.send({ method: method.toUpperCase(), path: target, ...(body && { body }) })
        expect(Object.keys(operation.responses)).toContain(String(status))
      }
    }
  })

  it('has examples of bodies that the server takes', async () => {
    const examples = operations().flatMap(({ path, method, operation }) =>
      Object.values(operation.requestBody?.content['application/json']?.examples ?? {}).map(({ value }) => {
        return { method: method.toUpperCase(), path: path.replace(/\{\w+\}/, '2'), body: JSON.stringify(value) }
      }),
    )
    expect(examples.length).toBeGreaterThan(4)
    for (const example of examples) {
      const { detail, code } = (await served.send(example)).json()
      // Two examples do not fit the ranges and nodes of the fake, which says so after the schema has.
      const isOfTheFake = /^the key is not in range|there is no node 4/.test(detail ?? '')
      if (!isOfTheFake) expect([example, code]).toEqual([example, undefined])
    }
  })

  it('documents every code of the registry, and where it may come', () => {
    const text = JSON.stringify(document.components.schemas.Problem)
    for (const [code, { status }] of Object.entries(errorKinds)) expect(text).toContain(`\`${code}\` (${status})`)
    const ids = operations().map(({ operation }) => operation.operationId)
    expect(new Set(ids).size).toBe(ids.length)
    for (const { operation } of operations()) {
      expect(operation.responses['500']!.description).toContain('INTERNAL')
      expect(operation.responses['503']!.description).toContain('UNAVAILABLE')
    }
  })

  it('gives each setting with its bounds and what it means', () => {
    const { ClusterSettings } = document.components.schemas
    expect(ClusterSettings).toEqual(JSON.parse(JSON.stringify(ClusterSettingsSchema)))
    for (const setting of Object.values(ClusterSettings!.properties)) expect(setting).toHaveProperty('description')
    const put = document.paths['/v1/admin/settings']!.put!.requestBody!.content['application/json']!.schema
    expect(put.properties).toEqual(ClusterSettings!.properties)
  })
})
