import { crc32 } from 'node:zlib'
import { assert, CordilleraError, type Incarnation, type NodeId } from '@cordillera/base'
import type { Disk } from '@cordillera/raft-log'
import { type FoundingDocument, type FoundingNode, isFoundingDocument, isFoundingNode } from './founding-document.js'
import { isCount, isHex, isObject } from './json-shapes.js'
import { readSmallFile, replaceSmallFile } from './small-file.js'

export type { FoundingDocument, FoundingNode }

/**
 * Who a directory is, durably: written before anything that follows from it is said to anyone.
 *
 * One small file, replaced whole. It carries a format number and a checksum; anything else in its place is
 * `DIRECTORY_INVALID`, never "no identity". Once founded, a directory keeps its cluster and node id for ever.
 */
export type Identity = JoiningIdentity | FoundingIdentity | PreparedIdentity | FoundedIdentityRecord

interface Counted {
  /** Counted up at each start, before anything is sent. */
  readonly incarnation: Incarnation
}

/** Asks for a place. The token makes asking again the same request. */
export interface JoiningIdentity extends Counted {
  readonly phase: 'joining'
  readonly token: string
}

/** The founder, until every place is taken. */
export interface FoundingIdentity extends Counted {
  readonly phase: 'founding'
  readonly clusterId: string
  readonly nodes: number
  readonly ranges: number
  readonly places: readonly Place[]
}

/** Has the document; no election may begin before everybody has. */
export interface PreparedIdentity extends Counted {
  readonly phase: 'prepared'
  readonly nodeId: NodeId
  readonly document: FoundingDocument
  /** At the founder, who may ask for the document; elsewhere the own token alone. */
  readonly places: readonly Place[]
}

export interface FoundedIdentityRecord extends Counted {
  readonly phase: 'founded'
  readonly nodeId: NodeId
  readonly document: FoundingDocument
  readonly places: readonly Place[]
  /** The document's replicas were made, durably: if they are missing later, the state database was lost. */
  readonly replicasCreated: boolean
}

/** A joiner's place at the founder. */
export interface Place {
  readonly token: string
  readonly node: FoundingNode
}

const FILE = 'identity'
const FORMAT = 1

/** The directory's identity; undefined when it has none. Throws `DIRECTORY_INVALID`. */
export async function readIdentity(disk: Disk): Promise<Identity | undefined> {
  const bytes = await readSmallFile(disk, FILE).catch((error) => {
    throw error instanceof CordilleraError && error.code === 'CORRUPT' ? invalid(error.message) : error
  })
  return bytes && decodeIdentity(bytes)
}

/** Durable when it resolves; before that, the former identity or this one is found after a crash. */
export function writeIdentity(disk: Disk, identity: Identity): Promise<void> {
  return replaceSmallFile(disk, FILE, encodeIdentity(identity))
}

/** `format checksum` on the first line, JSON on the second. */
export function encodeIdentity(identity: Identity): Uint8Array {
  assert(isIdentity(identity), 'what is written can be read')
  const text = JSON.stringify(identity)
  return new TextEncoder().encode(`cordillera-identity ${FORMAT} ${crc32(text)}\n${text}\n`)
}

export function decodeIdentity(bytes: Uint8Array): Identity {
  const text = new TextDecoder().decode(bytes)
  const match = /^cordillera-identity (\d+) (\d+)\n(.*)\n$/s.exec(text)
  if (match === null) throw invalid('it is not one of ours')
  const [, format, checksum, body] = match
  if (Number(format) !== FORMAT) throw invalid(`its format ${format} is not known to this version`)
  if (crc32(body!) !== Number(checksum)) throw invalid('its checksum does not match')
  const value = tryParse(body!)
  if (!isIdentity(value)) throw invalid('it says what no node writes')
  return value
}

function isIdentity(value: unknown): value is Identity {
  if (!isObject(value) || !isCount(value.incarnation)) return false
  switch (value.phase) {
    case 'joining':
      return isHex(value.token)
    case 'founding':
      return isHex(value.clusterId) && isCount(value.nodes) && isCount(value.ranges) && arePlaces(value.places)
    case 'founded':
      return typeof value.replicasCreated === 'boolean' && isMember(value, value.replicasCreated)
    case 'prepared':
      return isMember(value, false)
    default:
      return false
  }
}

/** `mayBeLater`: a node that joined the founded cluster, which has no replica of the document. */
function isMember({ document, nodeId, places }: Record<string, unknown>, mayBeLater: boolean): boolean {
  if (!isFoundingDocument(document) || !isCount(nodeId) || !arePlaces(places)) return false
  return mayBeLater || document.nodes.some((node) => node.nodeId === nodeId)
}

function arePlaces(values: unknown): boolean {
  return (
    Array.isArray(values) &&
    values.every((value) => isObject(value) && isHex(value.token) && isFoundingNode(value.node))
  )
}

function tryParse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function invalid(why: string): CordilleraError {
  return new CordilleraError('DIRECTORY_INVALID', {
    detail: `the identity of the data directory cannot be used: ${why}`,
  })
}
