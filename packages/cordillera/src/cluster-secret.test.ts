import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, it } from 'vitest'
import { readClusterSecret } from './cluster-secret.js'

const directory = mkdtempSync(join(tmpdir(), 'cordillera-secret-'))
afterAll(() => rmSync(directory, { recursive: true }))

function file(content: string): string {
  const path = join(directory, 'secret')
  writeFileSync(path, content)
  return path
}

it('is what the file holds, without the white space around it', async () => {
  expect(await readClusterSecret(file('  sixteen or more characters\n'))).toBe('sixteen or more characters')
})

it('is refused when it is short or missing, and not repeated', async () => {
  const short = await readClusterSecret(file('hunter2\n')).catch((error: Error) => error)
  expect(short).toMatchObject({ code: 'CONFIG_INVALID', message: expect.not.stringContaining('hunter2') })
  const missing = readClusterSecret(join(directory, 'nowhere'))
  await expect(missing).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining('nowhere') })
})
