import { type ErrorCode, errorKinds } from '@cordillera/base'
import type { TSchema } from 'typebox'
import { NodeSchema, RangeSchema } from './admin-schemas.js'
import type { ApiAnswer, ApiRoute } from './api-route.js'
import { needsBody, type RouteBody } from './json-body.js'
import { keyPath } from './key-path.js'
import { OperatorSchema } from './operator-schemas.js'
import { PROBLEM_TYPE } from './problem.js'
import { ProblemSchema } from './problem-schema.js'
import { ClusterSettingsSchema } from './settings-schema.js'

/**
 * The OpenAPI 3.1 document, made from the routes: what is checked and what is described are the same schemas. Single
 * keys, which have no such route, are described by hand in `key-path.ts`.
 */
export function openApiDocument(routes: readonly ApiRoute[]): object {
  const paths: Record<string, Record<string, object>> = {}
  for (const route of routes) {
    paths[route.path] = { ...paths[route.path], [route.method.toLowerCase()]: operationOf(route) }
  }
  return withReferences({
    openapi: '3.1.0',
    info: {
      title: 'Cordillera',
      version: '1',
      summary: 'A sharded, replicated key-value storage engine',
      description:
        'Any node answers any request. Errors are `application/problem+json` with a `code`; a method that a resource does not have is 405 `METHOD_NOT_ALLOWED` with `Allow`. Wherever there is GET there is HEAD.',
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url: '/', description: 'The node that this document came from.' }],
    tags: Object.entries(TAGS).map(([name, description]) => ({ name, description })),
    paths: { ...paths, '/v1/kv/{key}': keyPath(refusalsOf) },
    components: {},
  })
}

const TAGS: Readonly<Record<ApiRoute['tag'], string>> = {
  keys: 'Single keys and scans.',
  cluster: 'The cluster as a whole.',
  nodes: 'Processes with a store each.',
  ranges: 'Contiguous spans of keys, each replicated by a Raft group of its own.',
  operators: 'Running and ended changes of the placement.',
  settings: 'What the placement goes by.',
  health: 'For what watches a process.',
}

/** Schemas that have a name of their own in the document, wherever they stand. */
const COMPONENTS: Readonly<Record<string, TSchema>> = {
  ClusterSettings: ClusterSettingsSchema,
  Node: NodeSchema,
  Operator: OperatorSchema,
  Problem: ProblemSchema,
  Range: RangeSchema,
}

/** What any route may answer besides what it says. */
const REFUSALS_OF_ALL = ['BAD_REQUEST', 'INTERNAL', 'UNAVAILABLE'] as const satisfies readonly ErrorCode[]

function operationOf(route: ApiRoute): object {
  const { operationId, tag, summary, description, body, refusals } = route
  const answers = Object.entries(route.answers).map(([status, answer]) => [status, answerOf(answer)] as const)
  return {
    operationId,
    tags: [tag],
    summary,
    ...(description === undefined ? {} : { description }),
    parameters: parametersOf(route),
    ...(body === undefined ? {} : { requestBody: requestBodyOf(body) }),
    responses: merged(refusalsOf([...REFUSALS_OF_ALL, ...refusals]), Object.fromEntries(answers)),
  }
}

function parametersOf({ path, query }: ApiRoute): object[] {
  const inPath = Array.from(path.matchAll(/\{(\w+)\}/g), ([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'integer', minimum: 1 },
  }))
  const required: readonly string[] = query?.required ?? []
  const inQuery = Object.entries(query?.properties ?? {}).map(([name, schema]) => {
    const { description, ...rest } = plain(schema) as { description?: string }
    return { name, in: 'query', required: required.includes(name), ...(description && { description }), schema: rest }
  })
  return [...inPath, ...inQuery]
}

function requestBodyOf(body: RouteBody): object {
  const { schema, examples } = body
  const values = Object.entries(examples).map(([name, value]) => [name.replaceAll(' ', '-'), { value }])
  return {
    required: needsBody(body),
    content: { 'application/json': { schema, ...(values.length > 0 && { examples: Object.fromEntries(values) }) } },
  }
}

function answerOf({ description, schema, mediaTypes = [], headers = {} }: ApiAnswer): DocumentedAnswer {
  const content: Record<string, object> = {}
  if (schema !== undefined) content['application/json'] = { schema }
  for (const type of mediaTypes) content[type] = type === PROBLEM_TYPE ? { schema: ProblemSchema } : {}
  const said = Object.entries(headers).map(([name, text]) => [name, { description: text, schema: { type: 'string' } }])
  return { description, content, ...(said.length > 0 && { headers: Object.fromEntries(said) }) }
}

export interface DocumentedAnswer {
  readonly description: string
  readonly content?: Readonly<Record<string, object>>
  readonly headers?: object
}

/** Answers by status for these codes: a status says which of its codes it may be. */
export function refusalsOf(codes: readonly ErrorCode[]): Record<string, DocumentedAnswer> {
  const answers: Record<string, DocumentedAnswer> = {}
  for (const code of new Set(codes)) {
    const { status, title, retry } = errorKinds[code]
    const sentence = `\`${code}\`: ${title}${retry === 'never' ? '' : ` (retry: ${retry})`}.`
    const known = answers[status]?.description
    answers[status] = {
      description: known === undefined ? sentence : `${known} ${sentence}`,
      content: { [PROBLEM_TYPE]: { schema: ProblemSchema } },
    }
  }
  return answers
}

/** Where both say something about a status, both sentences stand. */
function merged(
  refusals: Readonly<Record<string, DocumentedAnswer>>,
  answers: Readonly<Record<string, DocumentedAnswer>>,
): Record<string, DocumentedAnswer> {
  const all: Record<string, DocumentedAnswer> = { ...refusals }
  for (const [status, answer] of Object.entries(answers)) {
    const refusal = refusals[status]?.description
    all[status] = refusal === undefined ? answer : { ...answer, description: `${refusal} ${answer.description}` }
  }
  return all
}

/** A copy that is JSON and nothing else. */
function plain(value: object): unknown {
  return JSON.parse(JSON.stringify(value))
}

/** The document with every component in one place, and references to it elsewhere. */
function withReferences(document: object): object {
  const schemas = Object.entries(COMPONENTS).map(([name, schema]) => [name, JSON.stringify(schema)] as const)
  const names = new Map(schemas.map(([name, json]) => [json, name]))
  const refer = (value: unknown, isComponent = false): unknown => {
    if (typeof value !== 'object' || value === null) return value
    const name = isComponent ? undefined : names.get(JSON.stringify(value))
    if (name !== undefined) return { $ref: `#/components/schemas/${name}` }
    if (Array.isArray(value)) return value.map((item) => refer(item))
    return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, refer(member)]))
  }
  const components = Object.fromEntries(schemas.map(([name, json]) => [name, refer(JSON.parse(json), true)]))
  return { ...(refer(plain(document)) as object), components: { schemas: components } }
}
