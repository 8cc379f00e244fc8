import { readFileSync } from 'node:fs'
import { CordilleraError } from '@cordillera/base'
import { Command, CommanderError, Option } from 'commander'
import { ApiClient } from './api-client.js'
import { addClusterCommands } from './cluster-program.js'
import type { ClusterAction, CommandFlags, CommandIo } from './command-context.js'
import { kvDel, kvGet, kvPut, kvScan } from './kv-commands.js'
import { errorLine } from './print-error.js'
import { clientSettings, demoSettings, settingNames, startSettings } from './setting-values.js'
import { CONFIG_SETTING, flagOf, resolveSettings, type SettingTable, type SettingValues } from './settings.js'
import { startConfigOf } from './start-config.js'
import { version } from './version.js'

/**
 * The command line: what there is, and where each command is written. Every failure is one line on standard error with
 * a code and what to do, and an exit status of 1. A node's own parts are loaded only by the commands that run one.
 */

/** Runs one command line (without the program's name). Resolves to the exit status. */
export async function runProgram(args: readonly string[], io: CommandIo): Promise<number> {
  try {
    await buildProgram(io).parseAsync([...args], { from: 'user' })
    return 0
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0
    io.err(`cordillera: ${errorLine(error instanceof CommanderError ? usageError(error) : error)}\n`)
    return 1
  }
}

function buildProgram(io: CommandIo): Command {
  const program = new Command('cordillera')
    .description('A sharded, replicated key-value storage engine')
    .version(version)
    .exitOverride()
    .configureOutput({ writeOut: (text) => io.out(text), writeErr: () => {} })
  addNodeCommands(program, io)
  addClusterCommands(program, (command, run) => onCluster(command, run, io))
  addKvCommands(program, io)
  return program
}

function addNodeCommands(program: Command, io: CommandIo): void {
  const start = program.command('start').description('run a node')
  addOptions(start, startSettings).action(async (flags: CommandFlags) => {
    const config = startConfigOf(readSettings(startSettings, flags, io))
    const { runStart } = await import('./start-command.js')
    await runStart(config)
  })
  const demo = program.command('demo').description('run a local cluster, one process a node')
  addOptions(demo, demoSettings).action(async (flags: CommandFlags) => {
    const settings = readSettings(demoSettings, flags, io)
    const { runDemo } = await import('./demo.js')
    await runDemo(settings, io)
  })
}

function addKvCommands(program: Command, io: CommandIo): void {
  const kv = program.command('kv').description('keys and values')
  const command = (syntax: string, description: string): Command =>
    kv
      .command(syntax)
      .description(description)
      .option('--keyspace <name>', 'the keyspace of the keys')
      .option('--spread', 'the spread keyspace of this name, another than the plain one')
      .addOption(new Option('--encoding <encoding>', 'how keys are spelled').choices(['hex', 'base64url']))
  const write = (syntax: string, description: string): Command =>
    command(syntax, description)
      .option('--if-match <version>', 'only if the key has this version, or is there: *')
      .option('--idempotency-key <key>', 'a retry with the same one within 10 minutes takes no second effect')
  const ifNoneMatch = new Option('--if-none-match', 'only if there is no such key').conflicts('ifMatch')
  onCluster(command('get <key>', 'print the value of a key, as it is'), kvGet, io)
  onCluster(
    write('put <key> [value]', 'write a key; without a value, standard input').addOption(ifNoneMatch),
    kvPut,
    io,
  )
  onCluster(write('del <key>', 'delete a key'), kvDel, io)
  const scan = command('scan', 'list keys in order')
    .option('--prefix <prefix>', 'keys that begin so')
    .option('--start <key>', 'from here, inclusive')
    .option('--end <key>', 'to here, exclusive')
    .option('--limit <n>', 'at most so many')
    .option('--reverse', 'from the end')
    .option('--no-values', 'keys and versions alone')
    .option('--cursor <cursor>', 'go on where the last list ended')
  onCluster(scan, kvScan, io)
}

/** Makes `run` the action of a command that talks to a node. */
function onCluster(command: Command, run: ClusterAction, io: CommandIo): void {
  addOptions(command, clientSettings).action(async () => {
    const flags: CommandFlags = command.opts()
    const { endpoint, output } = readSettings(clientSettings, flags, io)
    await run({ client: new ApiClient(endpoint), output, io }, command.processedArgs.flat(), flags)
  })
}

function addOptions(command: Command, table: SettingTable): Command {
  command.exitOverride().allowExcessArguments(false)
  for (const [name, { argument, description }] of Object.entries(table)) {
    const short = name === 'output' ? '-o, ' : ''
    command.option(short + flagOf(name) + (argument === undefined ? '' : ` <${argument}>`), description)
  }
  return command.option('--config <FILE>', 'a JSON file with settings, a line each: {"logLevel": "debug"}')
}

function readSettings<Table extends SettingTable>(
  table: Table,
  flags: CommandFlags,
  io: CommandIo,
): SettingValues<Table> {
  const path = flags[CONFIG_SETTING] ?? io.environment.CORDILLERA_CONFIG
  const file = path === undefined ? {} : readConfigFile(String(path))
  return resolveSettings(table, { flags, environment: io.environment, file }, settingNames)
}

function readConfigFile(path: string): Record<string, unknown> {
  let parsed: unknown
  try {
    parsed = JSON.parse(readFileSync(path, 'utf8'))
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new CordilleraError('CONFIG_INVALID', { detail: `the configuration file ${path}: ${reason}`, cause })
  }
  if (typeof parsed === 'object' && parsed !== null && !Array.isArray(parsed)) return parsed as Record<string, unknown>
  throw new CordilleraError('CONFIG_INVALID', { detail: `the configuration file ${path} is not a JSON object` })
}

/** commander's refusals (unknown commands and flags, missing arguments) already say what was probably meant. */
function usageError(error: CommanderError): CordilleraError {
  const detail = error.code === 'commander.help' ? 'a command is missing; see --help' : error.message
  return new CordilleraError('CONFIG_INVALID', { detail: detail.replace(/^error: /, '') })
}
