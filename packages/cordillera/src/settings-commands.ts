import { CordilleraError } from '@cordillera/base'
import type { ClusterSettings } from '@cordillera/server'
import { type ApiClient, jsonBody, withRemedy } from './api-client.js'
import type { CommandArguments, CommandContext } from './command-context.js'
import { nearest } from './settings.js'
import { type Cell, formatTable } from './table.js'

/**
 * `settings show|set`: the cluster's settings, with the bounds and the meaning that the node's own OpenAPI document gives,
 * so that an older command shows a newer node's settings.
 */
const TARGET = '/v1/admin/settings'
const LOST_SETTING = 'see whether it took effect: cordillera settings show; to set it again does no harm'

export async function settingsShow(context: CommandContext): Promise<void> {
  const { client, output, io } = context
  const { value, text } = await client.json<ClusterSettings>(TARGET)
  io.out(output === 'json' ? `${text}\n` : formatSettings(value, await describedSettings(client)))
}

/** `name=value…`: all of them at once, or none. */
export async function settingsSet(context: CommandContext, pairs: CommandArguments): Promise<void> {
  const { client, output, io } = context
  const described = await describedSettings(client)
  const patch = patchOf(pairs.map(String), described)
  const request = { method: 'PUT', ...jsonBody(patch) }
  const { value, text } = await withRemedy(LOST_SETTING, () => client.json<ClusterSettings>(TARGET, request))
  io.out(output === 'json' ? `${text}\n` : formatSettings(value, described))
}

interface DescribedSetting {
  readonly description?: string
  readonly type?: string
  readonly minimum?: number
  readonly maximum?: number
}

type DescribedSettings = Readonly<Record<string, DescribedSetting>>

async function describedSettings(client: ApiClient): Promise<DescribedSettings> {
  const { value } = await client.json<OpenApiDocument>('/v1/openapi.json')
  return value.components?.schemas?.ClusterSettings?.properties ?? {}
}

interface OpenApiDocument {
  readonly components?: { readonly schemas?: { readonly ClusterSettings?: { readonly properties: DescribedSettings } } }
}

function formatSettings(values: ClusterSettings, described: DescribedSettings): string {
  const rows = Object.entries(values).map(([name, value]): Cell[] => {
    const setting = described[name] ?? {}
    return [name, value, boundsOf(setting), setting.description ?? '']
  })
  return formatTable(['SETTING', 'VALUE', 'BOUNDS', 'MEANING'], rows)
}

function boundsOf({ type, minimum, maximum }: DescribedSetting): string {
  if (type === 'boolean') return 'true, false'
  return minimum === undefined || maximum === undefined ? '' : `${minimum} … ${maximum}`
}

function patchOf(pairs: readonly string[], described: DescribedSettings): Record<string, boolean | number> {
  const patch: Record<string, boolean | number> = {}
  for (const pair of pairs) {
    const [, name = '', text = ''] = /^(\w+)=(.*)$/s.exec(pair) ?? []
    if (name === '') throw refusal(`a setting is given as name=value, not "${pair}"`)
    if (!Object.hasOwn(described, name)) throw refusal(`there is no setting ${name}${hint(name, described)}`)
    if (Object.hasOwn(patch, name)) throw refusal(`${name} is given twice`)
    patch[name] = settingOf(name, text, described[name]!)
  }
  return patch
}

function settingOf(name: string, text: string, { type }: DescribedSetting): boolean | number {
  if (type === 'boolean') {
    if (text === 'true' || text === 'false') return text === 'true'
    throw refusal(`${name} is true or false; it is "${text}"`)
  }
  if (/^\d+(?:\.\d+)?$/.test(text)) return Number(text)
  throw refusal(`${name} is a number, without a unit; it is "${text}"`)
}

function hint(name: string, described: DescribedSettings): string {
  const meant = nearest(name, Object.keys(described))
  return meant === undefined ? '; see cordillera settings show' : `; did you mean ${meant}?`
}

function refusal(detail: string): CordilleraError {
  return new CordilleraError('CONFIG_INVALID', { detail })
}
