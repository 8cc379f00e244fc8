import { type Buffer, isUtf8 } from 'node:buffer'
import { CordilleraError } from '@cordillera/base'
import type { TObject, TSchema } from 'typebox'
import { Value } from 'typebox/value'

/**
 * Bodies of commands: one flat JSON object, checked against the schema that the OpenAPI document shows, without
 * converting anything. Every refusal is BAD_REQUEST and names the member.
 *
 * The body is read as JSON whatever its Content-Type says, since `curl -d` calls it a form.
 */
export const BODY_BYTES_MAX = 64 * 1024

export interface RouteBody {
  readonly schema: TObject
  /** Whether an empty one is refused although no member is required. */
  readonly required?: true | undefined
  /** By a name each, for the OpenAPI document. */
  readonly examples: Readonly<Record<string, object>>
}

/** The JSON value, or undefined for a body without a byte. */
export function parseJsonBody(bytes: Buffer): unknown {
  if (bytes.length === 0) return undefined
  if (!isUtf8(bytes)) throw refusal('the body is not UTF-8')
  try {
    return JSON.parse(bytes.toString('utf8'))
  } catch (cause) {
    throw refusal(`the body is not JSON: ${cause instanceof Error ? cause.message : String(cause)}`)
  }
}

/** The body of a command; a command that needs no member needs no body either. */
export function checkedBody({ schema, required }: RouteBody, body: unknown): object {
  const requiredMembers: readonly string[] = schema.required ?? []
  if (body === undefined) {
    if (!needsBody({ schema, required })) return {}
    throw refusal(`the body is missing: a JSON object with ${Object.keys(schema.properties).join(', ')}`)
  }
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw refusal(`the body is a JSON object, not ${shown(body)}`)
  }
  refuseUnknownMembers(schema, body)
  const missing = requiredMembers.find((name) => !Object.hasOwn(body, name))
  if (missing !== undefined) throw refusal(`the member ${missing} is missing`)
  const members = Object.entries(body)
  if (members.length < membersMinOf(schema)) {
    throw refusal(`the body has at least one of ${Object.keys(schema.properties).join(', ')}`)
  }
  for (const [name, value] of members) {
    const member = schema.properties[name]!
    if (!Value.Check(member, value)) throw refusalOf(name, member, value)
  }
  return body
}

/** Whether there must be a body at all. */
export function needsBody({ schema, required }: Pick<RouteBody, 'schema' | 'required'>): boolean {
  return required ?? ((schema.required ?? []).length > 0 || membersMinOf(schema) > 0)
}

function membersMinOf(schema: TObject): number {
  return (schema as { minProperties?: number }).minProperties ?? 0
}

function refuseUnknownMembers({ properties }: TObject, body: object): void {
  const known = Object.keys(properties)
  const unknown = Object.keys(body).find((name) => !known.includes(name))
  if (unknown === undefined) return
  const takes = known.length === 0 ? 'the body has no members here' : `known are ${known.join(', ')}`
  throw refusal(`unknown member ${shown(unknown)}; ${takes}`)
}

/** Of a list, what is wrong with the first item that is wrong. */
function refusalOf(name: string, member: TSchema, value: unknown): CordilleraError {
  const { items, minItems = 0 } = member as { items?: TSchema; minItems?: number }
  if (items === undefined) return refusal(`${name} is ${expectation(member)}, not ${shown(value)}`)
  if (!Array.isArray(value)) return refusal(`${name} is a list, not ${shown(value)}`)
  if (value.length < minItems) return refusal(`${name} has at least ${minItems} of them`)
  const at = value.findIndex((item) => !Value.Check(items, item))
  return refusal(`${name}[${at}] is not one of what the API takes here: ${shown(value[at])}`)
}

/** In words, what the schema of a member allows. */
function expectation(member: TSchema): string {
  const { type, minimum, maximum } = member as { type?: string; minimum?: number; maximum?: number }
  switch (type) {
    case 'boolean':
      return 'true or false'
    case 'string':
      return 'a text'
    default: {
      const noun = type === 'integer' ? 'a whole number' : 'a number'
      return maximum === undefined || maximum === Number.MAX_SAFE_INTEGER
        ? `${noun} of at least ${minimum}`
        : `${noun} from ${minimum} to ${maximum}`
    }
  }
}

const SHOWN_CHARS_MAX = 60

/** A value of the client's, as JSON, short. */
function shown(value: unknown): string {
  const json = JSON.stringify(value)
  return json.length <= SHOWN_CHARS_MAX ? json : `${json.slice(0, SHOWN_CHARS_MAX)}…`
}

function refusal(detail: string): CordilleraError {
  return new CordilleraError('BAD_REQUEST', { detail })
}
