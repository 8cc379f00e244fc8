import { type Address, formatAddress, tryParseAddress } from './address.js'
import { LOG_LEVELS, type LogLevel } from './log-level.js'
import type { Setting } from './settings.js'

/**
 * Every setting of every command, with its check and its default; the words of flags, variables and lines follow from
 * the names. The message of a check completes "--flag is …".
 */
export const startSettings = {
  data: text('DIR', 'where this node keeps everything it has; made when it is missing'),
  http: address('H:P', 'where the HTTP API listens', { host: '127.0.0.1', port: 7070 }),
  peer: address('H:P', 'where other nodes are listened to', { host: '127.0.0.1', port: 7100 }),
  advertise: address('H:P', 'how other nodes reach this one, if not at --peer'),
  clusterSecretFile: text('FILE', 'a file with the secret that all nodes share; needed beyond loopback'),
  init: toggle('found a cluster, when the directory is empty; otherwise it does nothing'),
  initialNodes: count('N', 'with --init: how many nodes the cluster begins with (1)', 1, 100),
  initialRanges: count('N', 'with --init: how many ranges the key space begins with (16)', 1, 10_000),
  join: addresses('H:P,…', 'peer addresses of a cluster to join; later, more places to find it'),
  locality: locality('k=v,…', 'where this node stands, outermost first: region=a,zone=b'),
  diskReserveMib: count(
    'MIB',
    'room to keep on the disk: with less of it, values are refused (256)',
    0,
    1_048_576,
    256,
  ),
  logLevel: oneOf('L', `how much is logged: ${LOG_LEVELS.join(', ')} (info)`, LOG_LEVELS, 'info' as LogLevel),
} as const

export const demoSettings = {
  nodes: count('N', 'how many nodes (3, or as many as the directory has)', 1, 9),
  data: text('DIR', 'where the nodes keep what they have (./data/demo)'),
  httpPort: count('PORT', 'HTTP port of the first node; the others follow', 1, 65_535, 7070),
  peerPort: count('PORT', 'peer port of the first node; the others follow', 1, 65_535, 7100),
  logLevel: startSettings.logLevel,
} as const

export const clientSettings = {
  endpoint: endpoint('URL', 'a node of the cluster (http://127.0.0.1:7070)', 'http://127.0.0.1:7070'),
  output: oneOf('FORMAT', 'table or json; json is the body of the HTTP answer', ['table', 'json'] as const, 'table'),
} as const

/** Everything that a variable or a line may name, whichever command runs. */
export const settingNames: readonly string[] = [
  ...new Set([startSettings, demoSettings, clientSettings].flatMap((table) => Object.keys(table))),
]

function text(argument: string, description: string): Setting<string> {
  return {
    argument,
    description,
    parse: (value) => {
      if (value === '') throw new Error('not empty')
      return value
    },
  }
}

function toggle(description: string): Setting<boolean> & { default: boolean } {
  return {
    description,
    default: false,
    parse: (value) => {
      if (value === 'true' || value === '1') return true
      if (value === 'false' || value === '0') return false
      throw new Error('true or false')
    },
  }
}

function count(argument: string, description: string, min: number, max: number): Setting<number>
function count(
  argument: string,
  description: string,
  min: number,
  max: number,
  preset: number,
): Setting<number> & { default: number }
function count(argument: string, description: string, min: number, max: number, preset?: number): Setting<number> {
  return {
    argument,
    description,
    ...(preset === undefined ? {} : { default: preset }),
    parse: (value) => {
      const number = /^\d{1,9}$/.test(value) ? Number(value) : Number.NaN
      if (!(number >= min && number <= max)) throw new Error(`a whole number from ${min} to ${max}`)
      return number
    },
  }
}

function oneOf<const T extends string>(
  argument: string,
  description: string,
  values: readonly T[],
  preset: T,
): Setting<T> & { default: T } {
  return {
    argument,
    description,
    default: preset,
    parse: (value) => {
      const found = values.find((known) => known === value)
      if (found === undefined) throw new Error(`one of ${values.join(', ')}`)
      return found
    },
  }
}

function address(argument: string, description: string): Setting<Address>
function address(argument: string, description: string, preset: Address): Setting<Address> & { default: Address }
function address(argument: string, description: string, preset?: Address): Setting<Address> {
  const shown = preset === undefined ? description : `${description} (${formatAddress(preset)})`
  return { argument, description: shown, ...(preset === undefined ? {} : { default: preset }), parse: parseAddress }
}

function addresses(argument: string, description: string): Setting<readonly Address[]> {
  return {
    argument,
    description,
    parse: (value) => value.split(',').map((part) => parseAddress(part.trim())),
  }
}

function locality(argument: string, description: string): Setting<string> & { default: string } {
  return {
    argument,
    description,
    default: '',
    parse: (value) => {
      if (value !== '' && !/^[\w.-]+=[\w.-]+(?:,[\w.-]+=[\w.-]+)*$/.test(value)) {
        throw new Error('pairs like region=a,zone=b')
      }
      return value
    },
  }
}

function endpoint(argument: string, description: string, preset: string): Setting<string> & { default: string } {
  return {
    argument,
    description,
    default: preset,
    parse: (value) => {
      const url = tryUrl(value.includes('://') ? value : `http://${value}`)
      if (url === undefined || !/^https?:$/.test(url.protocol)) throw new Error('an address like http://127.0.0.1:7070')
      // Requests go to the root of a node: a path would have to be dropped.
      if (url.pathname !== '/' || url.search !== '' || url.hash !== '' || url.username !== '' || url.password !== '') {
        throw new Error('an address without a path, a query or a user, like http://127.0.0.1:7070')
      }
      return url.origin
    },
  }
}

function tryUrl(value: string): URL | undefined {
  return URL.canParse(value) ? new URL(value) : undefined
}

function parseAddress(value: string): Address {
  const parsed = tryParseAddress(value)
  if (parsed === undefined) throw new Error('a host and a port, like 127.0.0.1:7100')
  return parsed
}
