import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CordilleraError } from '@cordillera/base'
import { expect, it } from 'vitest'
import { createPinoLogger } from './pino-logger.js'

it('writes a line of JSON per event at or above its level, with the event and the error', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'cordillera-log-'))
  const path = join(directory, 'log')
  const logger = createPinoLogger('info', path)
  logger.debug('unseen')
  logger.info('node-started', { nodeId: 3 })
  logger.error('store-failed', { error: new CordilleraError('DISK_FAILED', { detail: 'EIO' }) })
  const lines = (await readFile(path, 'utf8'))
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
  expect(lines).toHaveLength(2)
  expect(lines[0]).toMatchObject({ level: 'info', pid: process.pid, event: 'node-started', nodeId: 3 })
  expect(Date.parse(lines[0].time)).toBeGreaterThan(0)
  expect(lines[1]).toMatchObject({
    level: 'error',
    event: 'store-failed',
    error: { code: 'DISK_FAILED', message: 'EIO' },
  })
  await rm(directory, { recursive: true })
})
