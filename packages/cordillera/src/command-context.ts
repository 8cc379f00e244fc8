import type { ApiClient } from './api-client.js'

/** What a command gets from the program: the terminal's side, and for clients of a cluster the way to it. */
export interface CommandIo {
  readonly environment: Readonly<Record<string, string | undefined>>
  readonly stdin: AsyncIterable<Uint8Array>
  /** Whether standard input is a terminal, at which somebody can be asked. */
  readonly isTerminal: boolean
  out(content: string | Uint8Array): void
  err(text: string): void
}

export interface CommandContext {
  readonly client: ApiClient
  readonly output: 'table' | 'json'
  readonly io: CommandIo
}

/** Arguments in order; undefined for an optional one that was left out. A list of arguments is part of it. */
export type CommandArguments = readonly (string | undefined)[]

/** Flags as the command line gave them; absent when not given. */
export type CommandFlags = Readonly<Record<string, string | boolean | undefined>>

export type ClusterAction = (context: CommandContext, args: CommandArguments, flags: CommandFlags) => Promise<void>
