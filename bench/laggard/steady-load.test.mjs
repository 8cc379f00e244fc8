import { createServer } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { SteadyLoad } from './steady-load.mjs'

/** The load against a server that misbehaves on purpose. */
let server
let load
afterEach(() => {
  load?.kill()
  server?.closeAllConnections()
  server?.close()
})

async function open(onRequest, connections = 2) {
  server = createServer((request, response) => {
    request.resume()
    request.on('end', () => onRequest(request, response))
  })
  await new Promise((done) => server.listen(0, '127.0.0.1', done))
  const addresses = [{ host: '127.0.0.1', port: server.address().port }]
  load = await SteadyLoad.open({ addresses, connections, keys: 100, valueBytes: 1024 })
}

const written = (response) => response.writeHead(204, { etag: '"1"' }).end()

test('what a stalled server keeps waiting counts from when it was due', async () => {
  const stalled = []
  let answer = (response) => stalled.push(response)
  await open((_request, response) => answer(response))
  load.begin('stall', 200)
  await pause(600)
  answer = written
  for (const response of stalled) written(response)
  await load.untilAcknowledged(200, 20)
  const { writes, p50Ms, maxMs, failures } = (await load.finish()).get('stall')
  expect(failures).toEqual({})
  expect(writes).toBeGreaterThanOrEqual(200)
  // Over two connections, two writes alone were sent while it stalled.
  expect(p50Ms).toBeGreaterThan(50)
  expect(maxMs).toBeGreaterThan(500)
})

test('writes belong to the phase in which they were due, and keep its rate', async () => {
  await open((_request, response) => written(response))
  load.begin('slow', 100)
  await load.untilAcknowledged(20, 20)
  load.begin('fast', 400)
  await load.untilAcknowledged(100, 20)
  load.begin('closed')
  await load.untilAcknowledged(500, 20)
  const figures = await load.finish()
  expect([...figures.keys()]).toEqual(['slow', 'fast', 'closed'])
  for (const [phase, perSec] of [
    ['slow', 100],
    ['fast', 400],
  ]) {
    const { writes, seconds } = figures.get(phase)
    expect(Math.abs(writes - seconds * perSec)).toBeLessThanOrEqual(2)
  }
})

test('what a stall has kept from being sent is sent in the next phase, and counts for its own', async () => {
  const stalled = []
  let answer = (response) => stalled.push(response)
  await open((_request, response) => answer(response))
  load.begin('stall', 100)
  await pause(300)
  load.begin('after', 400)
  await pause(300)
  answer = written
  for (const response of stalled) written(response)
  await load.untilAcknowledged(50, 20)
  const figures = await load.finish()
  for (const [phase, perSec] of [
    ['stall', 100],
    ['after', 400],
  ]) {
    const { writes, seconds, failures } = figures.get(phase)
    expect(failures).toEqual({})
    expect(Math.abs(writes - seconds * perSec)).toBeLessThanOrEqual(2)
  }
})

test('a refusal and a broken connection are failures of their phase, and the load goes on', async () => {
  let count = 0
  await open((request, response) => {
    count++
    if (count === 3) response.writeHead(503, { 'content-length': 7 }).end('refused')
    else if (count === 5) request.socket.destroy()
    else written(response)
  })
  load.begin('bad', 200)
  await load.untilAcknowledged(20, 20)
  load.begin('good', 200)
  await load.untilAcknowledged(20, 20)
  const figures = await load.finish()
  expect(figures.get('bad').failures).toEqual({ 503: 1, broken: 1 })
  expect(figures.get('good').failures).toEqual({})
})

test('requests are what a server expects', async () => {
  const seen = []
  await open((request, response) => {
    seen.push(request)
    written(response)
  })
  load.begin('one', 100)
  await load.untilAcknowledged(3, 20)
  await load.finish()
  expect(seen[0].method).toBe('PUT')
  expect(seen[0].url).toMatch(/^\/v1\/kv\/[0-9a-f]{32}$/)
  expect(seen[0].headers['content-length']).toBe('1024')
  expect(seen[0].headers.host).toBe(`127.0.0.1:${server.address().port}`)
})
