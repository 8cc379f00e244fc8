import { CordilleraError } from '@cordillera/base'

/**
 * Settings and where they come from: a flag, else `CORDILLERA_<FLAG>`, else a line of the configuration file (JSON),
 * else the default.
 *
 * Nothing unknown is passed over: a misspelt flag, variable or line is refused with a hint, because the alternative is
 * a node that runs with a default nobody asked for. A value is checked wherever it comes from, and the refusal names
 * the place.
 */
export interface Setting<T> {
  /** What the flag takes, for the help; undefined for a flag that is on or off. */
  readonly argument?: string
  readonly description: string
  /** Throws a plain Error that says what is expected. On and off arrive as "true" and "false". */
  parse(text: string): T
  readonly default?: T
}

export type SettingTable = Readonly<Record<string, Setting<unknown>>>

export type SettingValues<Table extends SettingTable> = {
  readonly [Name in keyof Table]: Table[Name] extends Setting<infer T>
    ? Table[Name] extends { default: unknown }
      ? T
      : T | undefined
    : never
}

export interface SettingSources {
  /** As the command line gave them, by setting; absent when not given. */
  readonly flags: Readonly<Record<string, string | boolean | undefined>>
  readonly environment: Readonly<Record<string, string | undefined>>
  /** The parsed configuration file; empty without one. */
  readonly file: Readonly<Record<string, unknown>>
}

/** Reads the settings of `table`; `known` names everything that any command of this program understands. */
export function resolveSettings<Table extends SettingTable>(
  table: Table,
  sources: SettingSources,
  known: Iterable<string>,
): SettingValues<Table> {
  const names = [...known, CONFIG_SETTING]
  refuseUnknownVariables(sources.environment, names)
  refuseUnknownLines(sources.file, names)
  const values: Record<string, unknown> = {}
  for (const [name, setting] of Object.entries(table)) {
    const given = findValue(name, sources)
    values[name] = given === undefined ? setting.default : parseValue(setting, given)
  }
  return values as SettingValues<Table>
}

/** The path of the configuration file, which only a flag or a variable can name. */
export const CONFIG_SETTING = 'config'

/** `initialNodes` is `--initial-nodes`. */
export function flagOf(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
}

/** `initialNodes` is `CORDILLERA_INITIAL_NODES`. */
export function variableOf(name: string): string {
  return VARIABLE_PREFIX + name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()
}

/** The known word that was probably meant. */
export function nearest(word: string, known: Iterable<string>): string | undefined {
  let best: string | undefined
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase())
    if (distance < bestDistance) {
      best = candidate
      bestDistance = distance
    }
  }
  return best
}

const VARIABLE_PREFIX = 'CORDILLERA_'

/** What Kubernetes sets in every pod when a service is called "cordillera". */
const SERVICE_LINK =
  /^CORDILLERA_(?:[A-Z0-9_]*SERVICE_(?:HOST|PORT)(?:_[A-Z0-9_]+)?|[A-Z0-9_]*PORT(?:_\d+_(?:TCP|UDP)(?:_\w+)?)?)$/

interface GivenValue {
  readonly text: string
  /** For the refusal: where it was found. */
  readonly place: string
}

function findValue(name: string, { flags, environment, file }: SettingSources): GivenValue | undefined {
  const flag = flags[name]
  if (flag !== undefined) return { text: String(flag), place: flagOf(name) }
  const variable = environment[variableOf(name)]
  if (variable !== undefined) return { text: variable, place: variableOf(name) }
  const line = Object.hasOwn(file, name) ? file[name] : undefined
  return line === undefined ? undefined : { text: lineText(name, line), place: `"${name}" in the configuration file` }
}

function lineText(name: string, line: unknown): string {
  if (typeof line === 'string' || typeof line === 'number' || typeof line === 'boolean') return String(line)
  if (Array.isArray(line) && line.every((item) => typeof item === 'string')) return line.join(',')
  throw invalid(`"${name}" in the configuration file is a text, a number, true, false or a list of texts`)
}

function parseValue(setting: Setting<unknown>, { text, place }: GivenValue): unknown {
  try {
    return setting.parse(text)
  } catch (cause) {
    throw invalid(`${place} is ${cause instanceof Error ? cause.message : cause}; it is "${text}"`, cause)
  }
}

function refuseUnknownVariables(environment: Readonly<Record<string, string | undefined>>, names: string[]): void {
  const variables = names.map(variableOf)
  for (const variable of Object.keys(environment)) {
    if (!variable.startsWith(VARIABLE_PREFIX) || variables.includes(variable) || SERVICE_LINK.test(variable)) continue
    throw invalid(`the environment variable ${variable} is not known${hint(nearest(variable, variables))}`)
  }
}

function refuseUnknownLines(file: Readonly<Record<string, unknown>>, names: string[]): void {
  const lines = names.filter((name) => name !== CONFIG_SETTING)
  for (const line of Object.keys(file)) {
    if (lines.includes(line)) continue
    throw invalid(`the configuration file has "${line}", which is not known${hint(nearest(line, lines))}`)
  }
}

function hint(suggestion: string | undefined): string {
  return suggestion === undefined ? '; see --help' : `; did you mean ${suggestion}?`
}

function invalid(detail: string, cause?: unknown): CordilleraError {
  return new CordilleraError('CONFIG_INVALID', { detail, cause })
}

/** Levenshtein, one row at a time. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const change = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(change, row[j]! + 1, next[j - 1]! + 1))
    }
    row = next
  }
  return row[b.length]!
}
