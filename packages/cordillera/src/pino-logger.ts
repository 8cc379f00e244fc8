import type { LogFields, Logger } from '@cordillera/base'
import { destination, pino, stdSerializers, stdTimeFunctions } from 'pino'
import type { LogLevel } from './log-level.js'

/**
 * The log of a process: a line of JSON per event, with `time`, `level`, `pid` and `event` always present.
 *
 * Lines are written as they come (events are rare, never one per request), so that the last one before a crash is not
 * lost. A reader that goes away costs its lines and nothing else.
 */
/** Writes to the file descriptor, or the file, given; standard output by default. */
export function createPinoLogger(level: LogLevel, target: number | string = 1): Logger {
  const sink = destination({ dest: target, sync: true })
  sink.on('error', () => {})
  const log = pino(
    {
      level,
      base: { pid: process.pid },
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      serializers: { error: stdSerializers.err },
    },
    sink,
  )
  return {
    debug: (event, fields) => log.debug(line(event, fields)),
    info: (event, fields) => log.info(line(event, fields)),
    warn: (event, fields) => log.warn(line(event, fields)),
    error: (event, fields) => log.error(line(event, fields)),
  }
}

function line(event: string, fields: LogFields | undefined): LogFields {
  return fields === undefined ? { event } : { event, ...fields }
}
