import type { CordilleraError } from '@cordillera/base'
import { describe, expect, it } from 'vitest'
import { clientSettings, settingNames, startSettings } from './setting-values.js'
import { nearest, resolveSettings, type SettingSources, type SettingTable } from './settings.js'
import { startConfigOf } from './start-config.js'

/** A flag beats a variable beats a line beats the default, and nothing unknown or contradictory is passed over. */
function resolve<Table extends SettingTable>(table: Table, sources: Partial<SettingSources>) {
  return resolveSettings(table, { flags: {}, environment: {}, file: {}, ...sources }, settingNames)
}

function refusal(action: () => unknown): string {
  try {
    action()
  } catch (error) {
    expect(error).toMatchObject({ code: 'CONFIG_INVALID' })
    return (error as CordilleraError).message
  }
  throw new Error('it was accepted')
}

describe('precedence', () => {
  const flags = { logLevel: 'debug' }
  const environment = { CORDILLERA_LOG_LEVEL: 'warn', HOME: '/' }
  const file = { logLevel: 'error' }

  it('is flag, variable, line, default', () => {
    expect(resolve(startSettings, { flags, environment, file }).logLevel).toBe('debug')
    expect(resolve(startSettings, { environment, file }).logLevel).toBe('warn')
    expect(resolve(startSettings, { file }).logLevel).toBe('error')
    expect(resolve(startSettings, {}).logLevel).toBe('info')
  })

  it('holds for every setting', () => {
    const values: Record<string, [string, unknown]> = {
      data: ['/x', '/x'],
      http: ['127.0.0.1:1', { host: '127.0.0.1', port: 1 }],
      peer: ['[::1]:2', { host: '::1', port: 2 }],
      advertise: ['localhost:3', { host: 'localhost', port: 3 }],
      clusterSecretFile: ['/secret', '/secret'],
      init: ['true', true],
      initialNodes: ['3', 3],
      initialRanges: ['1000', 1000],
      join: [
        'a:1,b:2',
        [
          { host: 'a', port: 1 },
          { host: 'b', port: 2 },
        ],
      ],
      locality: ['region=a,zone=b', 'region=a,zone=b'],
      diskReserveMib: ['7', 7],
      logLevel: ['trace', 'trace'],
    }
    expect(Object.keys(values)).toEqual(Object.keys(startSettings))
    for (const [name, [text, value]] of Object.entries(values)) {
      const variable = `CORDILLERA_${name.replace(/[A-Z]/g, (c) => `_${c}`).toUpperCase()}`
      for (const sources of [
        { flags: { [name]: text } },
        { environment: { [variable]: text } },
        { file: { [name]: text } },
      ]) {
        expect(resolve(startSettings, sources)[name as 'data']).toEqual(value)
      }
    }
  })

  it('takes numbers, truths and lists from the file as they are', () => {
    const file = { initialNodes: 3, init: true, join: ['a:1', 'b:2'] }
    expect(resolve(startSettings, { file })).toMatchObject({ initialNodes: 3, init: true })
    expect(resolve(startSettings, { file }).join).toHaveLength(2)
  })

  it('switches on by a flag alone', () => {
    expect(resolve(startSettings, { flags: { init: true } }).init).toBe(true)
  })
})

describe('what is unknown', () => {
  it('is refused with a hint', () => {
    expect(refusal(() => resolve(startSettings, { environment: { CORDILLERA_DATTA: 'x' } }))).toContain(
      'CORDILLERA_DATA?',
    )
    expect(refusal(() => resolve(startSettings, { file: { 'initial-nodes': 3 } }))).toContain('initialNodes?')
    expect(refusal(() => resolve(startSettings, { file: { zzzzzzzz: 3 } }))).toContain('--help')
    expect(refusal(() => resolve(startSettings, { file: { config: 'x' } }))).toContain('config')
  })

  it('does not include settings of other commands, or what Kubernetes sets', () => {
    const environment = {
      CORDILLERA_CONFIG: 'x',
      CORDILLERA_DATA: '/x',
      CORDILLERA_PORT: 'tcp://10.0.0.1:7070',
      CORDILLERA_PORT_7070_TCP_ADDR: '10.0.0.1',
      CORDILLERA_SERVICE_HOST: '10.0.0.1',
      CORDILLERA_SERVICE_PORT_HTTP: '7070',
    }
    expect(resolve(clientSettings, { environment }).output).toBe('table')
  })

  it('is compared with what is known', () => {
    expect(nearest('intial-nodes', ['initialNodes', 'data'])).toBe('initialNodes')
    expect(nearest('qqqqqq', ['initialNodes', 'data'])).toBeUndefined()
  })
})

describe('a value that is wrong', () => {
  it.each([
    ['initialNodes', '0'],
    ['initialNodes', '1.5'],
    ['initialRanges', '999999'],
    ['http', '7070'],
    ['http', 'host:99999'],
    ['http', 'http://host:1'],
    ['join', 'a:1,,b:2'],
    ['locality', 'zone'],
    ['logLevel', 'loud'],
    ['init', 'maybe'],
    ['data', ''],
  ])('%s=%s is refused, with its place', (name, text) => {
    const flag = name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)
    expect(refusal(() => resolve(startSettings, { flags: { [name]: text } }))).toContain(`--${flag} is `)
    expect(refusal(() => resolve(startSettings, { file: { [name]: text } }))).toContain(
      `"${name}" in the configuration`,
    )
  })

  it('of a line is refused when it is of no use at all', () => {
    expect(refusal(() => resolve(startSettings, { file: { join: [1, 2] } }))).toContain('"join"')
    expect(refusal(() => resolve(startSettings, { file: { http: { host: 'a' } } }))).toContain('"http"')
  })

  it.each(['127.0.0.1:7070', 'http://127.0.0.1:7070', 'http://127.0.0.1:7070/'])('%s is an endpoint', (endpoint) => {
    expect(resolve(clientSettings, { flags: { endpoint } }).endpoint).toBe('http://127.0.0.1:7070')
  })

  it.each([
    ...['ftp://x', 'http://', ''],
    ...['http://h/foo', 'h:7070/foo/', 'http://h?a=b', 'http://h#a', 'http://a:b@h'],
  ])('%j is none', (endpoint) => {
    expect(refusal(() => resolve(clientSettings, { flags: { endpoint } }))).toContain('--endpoint')
  })
})

describe('start', () => {
  const config = (flags: SettingSources['flags']) => startConfigOf(resolve(startSettings, { flags }))

  it('is founding, joining or neither', () => {
    expect(config({ data: '/d', init: true }).founding).toEqual({ kind: 'init', nodes: 1, ranges: 16 })
    expect(config({ data: '/d', join: '[::1]:7100,b:2' }).founding).toEqual({
      kind: 'join',
      addresses: ['[::1]:7100', 'b:2'],
    })
    expect(config({ data: '/d' })).toMatchObject({ founding: { kind: 'none' }, advertise: { port: 7100 } })
    expect(config({ data: 'd' }).dataPath).toMatch(/^\/.*\/d$/)
    expect(config({ data: '/d', advertise: '10.0.0.1:7100', clusterSecretFile: '/s' }).clusterSecretPath).toBe('/s')
  })

  it.each([
    ['--data', {}],
    ['--init', { data: '/d', init: true, join: 'a:1' }],
    ['--init', { data: '/d', initialNodes: '3' }],
    ['--advertise', { data: '/d', peer: '0.0.0.0:7100', clusterSecretFile: '/s' }],
    ['--cluster-secret-file', { data: '/d', peer: '0.0.0.0:7100', advertise: '127.0.0.1:7100' }],
    ['--cluster-secret-file', { data: '/d', advertise: '10.0.0.1:7100' }],
  ])('says %s when something does not go together', (word, flags) => {
    expect(refusal(() => config(flags))).toContain(word)
  })
})
