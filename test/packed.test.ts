import { execFile, spawn } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { freePorts } from '../tools/local-cluster.mjs'
import { eventually } from './eventually.js'
import { get, put, send } from './http-client.js'
import { afterTest, scratchDirectory } from './scratch.js'

/**
 * What `npm pack` makes of the packages, installed in an empty folder, runs: nothing is missing that only this
 * repository has. The packages' own dependencies come from npm's cache or the registry.
 */
const repository = fileURLToPath(new URL('..', import.meta.url))
const npm = promisify(execFile)

test('the packed packages start a node, and run the example of the README', { timeout: 300_000 }, async () => {
  const directory = scratchDirectory()
  const [packs, app] = [join(directory, 'packs'), join(directory, 'app')]
  for (const path of [packs, app]) mkdirSync(path)
  await npm('npm', ['pack', '--workspaces', '--silent', '--pack-destination', packs], { cwd: repository })
  const tarballs = readdirSync(packs).map((name) => join(packs, name))
  expect(tarballs.length).toBeGreaterThan(1)
  writeFileSync(join(app, 'package.json'), '{ "private": true }')
  await npm('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', ...tarballs], { cwd: app })

  const [, example] = /^```js\n([^`]*)```$/m.exec(
    readFileSync(join(repository, 'packages/cordillera/README.md'), 'utf8'),
  )!
  writeFileSync(join(app, 'example.mjs'), example!)
  const { stdout } = await npm(process.execPath, ['example.mjs'], { cwd: app })
  expect(stdout).toBe('user:2 Grace\n')

  const [http, peer] = (await freePorts(2)).map((port) => `127.0.0.1:${port}`)
  const command = join(app, 'node_modules', '.bin', 'cordillera')
  const node = spawn(command, ['start', '--init', '--data', 'data', '--http', http!, '--peer', peer!], { cwd: app })
  afterTest(() => {
    node.kill('SIGKILL')
  })
  let said = ''
  for (const stream of [node.stdout, node.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      said += chunk.toString()
    })
  }
  const ended = new Promise((resolve) => node.once('exit', (code) => resolve(code)))
  const url = `http://${http}`
  await eventually('the installed node is ready', async () => {
    if (node.exitCode !== null) return true
    return (await send(url, '/readyz')).status === 200
  })
  expect(node.exitCode, said).toBeNull()
  await put(url, 'a', 'from a package')
  expect(await get(url, 'a')).toBe('from a package')
  node.kill('SIGTERM')
  expect(await ended).toBe(0)
})
