/** Where events go: one stable `event` name a line (kebab-case), particulars in `fields`. Never called per request. */
export interface Logger {
  debug(event: string, fields?: LogFields): void
  info(event: string, fields?: LogFields): void
  warn(event: string, fields?: LogFields): void
  error(event: string, fields?: LogFields): void
}

export type LogFields = Readonly<Record<string, unknown>>

export const silentLogger: Logger = { debug() {}, info() {}, warn() {}, error() {} }
