import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { bin, freePorts } from '../tools/local-cluster.mjs'
import { eventually } from './eventually.js'
import { send } from './http-client.js'
import { afterTest, scratchDirectory } from './scratch.js'

/** `cordillera demo`, which is what `npm start` runs: it prints what to try, and what it prints works. */
test('demo serves what it prints, and Ctrl-C ends all of it', { timeout: 120_000 }, async () => {
  const [httpPort, peerPort] = [await freeRun(3), await freeRun(3)]
  const data = join(scratchDirectory(), 'demo')
  const demo = spawn(
    process.execPath,
    [bin, 'demo', '--data', data, '--http-port', `${httpPort}`, '--peer-port', `${peerPort}`],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  )
  afterTest(() => {
    demo.kill('SIGKILL')
  })
  let printed = ''
  for (const stream of [demo.stdout, demo.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      printed += chunk.toString()
    })
  }
  const ended = new Promise<number | null>((resolve) => demo.once('exit', resolve))
  afterTest((hasFailed) => {
    if (hasFailed) console.log(`demo (exit code ${demo.exitCode}):\n${printed}`)
  })
  const commands = await eventually('it prints curl lines', () => curlLines(printed), 65_000)

  for (const { method, url, body } of commands) {
    const { origin } = new URL(url)
    const answer = await send(origin, url.slice(origin.length), { method, ...(body && { body }) })
    expect([url, answer.status < 300]).toEqual([url, true])
  }
  const urls = [...new Set(commands.map(({ url }) => new URL(url).origin))]
  expect(urls.length).toBe(3)

  demo.kill('SIGINT')
  expect(await ended).toBe(0)
  for (const url of urls) await expect(send(url, '/livez')).rejects.toThrow()
})

/** The commands as requests; undefined until the last of them is there. */
function curlLines(printed: string) {
  const lines = [...printed.matchAll(/^\s*curl (.*)$/gm)].map(([, line]) => line!)
  if (!lines.some((line) => line.includes('/v1/admin/'))) return undefined
  return lines.map((line) => ({
    method: /-X (\w+)/.exec(line)?.[1] ?? 'GET',
    url: /http:\/\/[^\s']+/.exec(line)![0],
    body: /--data-binary '([^']*)'/.exec(line)?.[1],
  }))
}

/** The first of `count` free ports in a row. */
async function freeRun(count: number): Promise<number> {
  return eventually('free ports in a row', async () => {
    const ports = await freePorts(count)
    return ports[count - 1] === ports[0]! + count - 1 && ports[0]
  })
}
