import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { CordilleraError } from '@cordillera/base'
import { afterEach, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { PEER_PATH } from './dial.js'
import { frameOf, Member, textOf } from './testing/member.js'
import { until } from './testing/real-clock.js'
import { WebSocketTransport } from './web-socket-transport.js'

const members: Member[] = []
const closers: (() => void)[] = []

async function member(...args: Parameters<typeof Member.start>): Promise<Member> {
  const started = await Member.start(...args)
  members.push(started)
  return started
}

async function pair(): Promise<[Member, Member]> {
  const [a, b] = [(await member(1)).identify(), (await member(2)).identify()]
  a.knows(b)
  b.knows(a)
  await until(() => a.up.has(2) && b.up.has(1), 'the pair is up')
  return [a, b]
}

afterEach(async () => {
  for (const close of closers.splice(0)) close()
  const all = members.splice(0)
  await Promise.all(all.map(({ transport }) => transport.close()))
  for (const { violations } of all) expect(violations).toEqual([])
})

interface Proxy {
  readonly address: string
  /** Flips a bit in the next large chunk towards the target. */
  damage: boolean
  reset(): void
}

/** A TCP proxy whose connections can be reset, and their bytes damaged. */
async function proxyTo(target: Member): Promise<Proxy> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    const { host, port } = target.transport.address!
    const upstream = connect(port, host)
    for (const [one, other] of [
      [socket, upstream],
      [upstream, socket],
    ] as const) {
      sockets.add(one)
      one.on('error', () => {})
      one.on('close', () => other.destroy())
      one.on('data', (chunk) => {
        const isDamaged = proxy.damage && one === socket && chunk.length > 10_000
        if (isDamaged) {
          chunk[5_000]! ^= 1
          proxy.damage = false
        }
        other.write(chunk)
      })
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const proxy: Proxy = {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    damage: false,
    reset: () => {
      for (const socket of sockets) socket.resetAndDestroy()
      sockets.clear()
    },
  }
  closers.push(() => {
    server.close()
    proxy.reset()
  })
  return proxy
}

describe('a pair of nodes', () => {
  it('settles on one connection when both dial at once, again and again, without flapping', async () => {
    for (let round = 0; round < 40; round++) {
      const [a, b] = [(await member(1)).identify(), (await member(2)).identify()]
      a.knows(b)
      b.knows(a)
      await until(() => a.up.has(2) && b.up.has(1), 'both are up')
      expect(a.transport.send(2, frameOf('to b'))).toBe(true)
      expect(b.transport.send(1, frameOf('to a'))).toBe(true)
      await until(() => a.frames.length === 1 && b.frames.length === 1, 'frames have arrived both ways')
      expect(a.events).toEqual(['up 2/1'])
      expect(b.events).toEqual(['up 1/1'])
      await Promise.all([a.transport.close(), b.transport.close()])
      expect([...a.events, ...b.events].sort()).toEqual(['down 1', 'down 2', 'up 1/1', 'up 2/1'])
    }
  })

  it('needs only one that knows the other', async () => {
    const [a, b] = [(await member(2)).identify(), (await member(1)).identify()]
    b.knows(a)
    await until(() => a.up.has(1) && b.up.has(2), 'both are up')
  })

  it('of several nodes is one each', async () => {
    const all = await Promise.all([1, 2, 3, 4, 5].map((id) => member(id)))
    for (const one of all) one.identify()
    for (const one of all) one.knows(...all)
    await until(() => all.every(({ up }) => up.size === 4), 'everyone is up')
    await new Promise((resolve) => setTimeout(resolve, 300))
    for (const { events } of all) expect(events.filter((event) => event.startsWith('down'))).toEqual([])
  })

  it('carries frames whole and in order, small and large, each in memory of its own', async () => {
    const [a, b] = await pair()
    const sizes = Array.from({ length: 300 }, (_, i) => (i % 50 === 0 ? 3_000_000 : (i * 977) % 5000))
    const frames = sizes.map((size, i) => {
      const frame = Buffer.alloc(size + 8, i)
      frame.writeUInt32LE(i, 4)
      return frame
    })
    for (const frame of frames) {
      expect(b.transport.send(1, Buffer.from(frame))).toBe(true)
      expect(a.transport.send(2, Buffer.from(frame))).toBe(true)
    }
    await until(() => a.frames.length === 300 && b.frames.length === 300, 'all have arrived')
    for (const received of [a.frames, b.frames]) {
      received.forEach((frame, i) => {
        expect(Buffer.compare(frame.subarray(4), frames[i]!.subarray(4))).toBe(0)
      })
    }
  })

  it('refuses frames beyond the queue and loses none of those that it took', async () => {
    const limits = { queueBytesMax: 8 << 20 }
    const [a, b] = [(await member(1, { limits })).identify(), (await member(2)).identify()]
    a.knows(b)
    await until(() => a.up.has(2) && b.up.has(1), 'the pair is up')
    let sent = 0
    while (sent < 2_000 && a.transport.send(2, Buffer.alloc(1 << 20))) sent++
    expect(sent).toBeGreaterThanOrEqual(8)
    expect(sent).toBeLessThan(2_000)
    await until(() => b.frames.length === sent, 'what was taken arrives')
    await until(() => a.transport.send(2, frameOf('again')), 'there is room again')
    expect(a.transport.send(3, frameOf('nobody'))).toBe(false)
  })

  it('lets what was sent leave when one side closes', async () => {
    const [a, b] = await pair()
    for (let i = 0; i < 20; i++) a.transport.send(2, Buffer.alloc(100_000, i))
    await a.transport.close()
    await until(() => !b.up.has(1), 'b has noticed')
    expect(b.frames.length).toBe(20)
    expect(a.transport.send(2, frameOf('late'))).toBe(false)
    await a.transport.close()
  })
})

describe('a connection that is lost', () => {
  it('comes back at once after a reset, even in the middle of a frame, and nobody dies', async () => {
    const [a, b] = [(await member(1)).identify(), (await member(2)).identify()]
    const proxy = await proxyTo(b)
    a.transport.setPeers(new Map([[2, proxy.address]]))
    for (let round = 1; round <= 5; round++) {
      await until(() => a.up.has(2) && b.up.has(1), `both are up in round ${round}`)
      for (let i = 0; i < 20; i++) a.transport.send(2, Buffer.alloc(1 << 20, round))
      await new Promise((resolve) => setImmediate(resolve))
      proxy.reset()
      await until(() => !a.up.has(2) || a.events.length > 2 * round - 1, 'a has noticed')
    }
    await until(() => a.up.has(2) && b.up.has(1), 'both are up in the end')
    for (const frame of b.frames) expect(frame.subarray(4).every((byte) => byte === frame[4])).toBe(true)
  })

  it('of a process that is gone says so, and a new incarnation is met', async () => {
    const [a, b] = await pair()
    const { port } = b.transport.address!
    await b.transport.close()
    await until(() => a.events.includes('refused 2'), 'the dial is refused')
    expect(a.events.slice(0, 3)).toEqual(['up 2/1', 'down 2', 'refused 2'])
    const again = (await member(2, { listen: { host: '127.0.0.1', port } })).identify(2)
    await until(() => a.events.at(-1) === 'up 2/2' && again.up.has(1), 'the new one is up')
  })

  it('that one side drops is made anew, with its end told first', async () => {
    const [a, b] = await pair()
    a.transport.disconnect(2)
    expect(a.transport.send(2, frameOf('x'))).toBe(false)
    expect(a.events).toEqual(['up 2/1'])
    await until(() => a.events.length === 3 && b.events.length === 3, 'both are up again')
    expect(a.events).toEqual(['up 2/1', 'down 2', 'up 2/1'])
    expect(b.events).toEqual(['up 1/1', 'down 1', 'up 1/1'])
  })

  it('on one side alone is replaced by what that side dials', async () => {
    const [a, b] = [(await member(1)).identify(), (await member(2)).identify()]
    const proxy = await proxyTo(a)
    b.transport.setPeers(new Map([[1, proxy.address]]))
    await until(() => a.up.has(2) && b.up.has(1), 'both are up')
    // b forgets the connection; a is made to believe in it by a proxy that forwards no end of it.
    const held = await proxyHoldingEnds(a)
    b.transport.setPeers(new Map([[1, held]]))
    proxy.reset()
    await until(() => a.events.length >= 3 && b.events.length >= 3, 'both are up through the other proxy')
    const before = a.events.length
    b.transport.disconnect(1)
    await until(() => a.events.length === before + 2 && b.up.has(1), 'a takes the new one')
    expect(a.events.slice(before)).toEqual(['down 2', 'up 2/1'])
  })
})

/** Passes bytes on, but never that a connection has ended. */
async function proxyHoldingEnds(target: Member): Promise<string> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    const { host, port } = target.transport.address!
    const upstream = connect({ host, port, allowHalfOpen: true })
    socket.on('error', () => {})
    upstream.on('error', () => {})
    socket.pipe(upstream, { end: false })
    upstream.pipe(socket, { end: false })
    closers.push(() => {
      socket.destroy()
      upstream.destroy()
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closers.push(() => server.close())
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

describe('a handshake', () => {
  it('with a newer incarnation replaces the connection, with an older one is refused', async () => {
    const a = (await member(1)).identify()
    const old = (await member(2)).identify(1)
    old.knows(a)
    await until(() => a.up.has(2), 'the first is up')
    const young = (await member(2)).identify(5)
    young.knows(a)
    await until(() => a.events.length === 3, 'the newer one has replaced it')
    expect(a.events).toEqual(['up 2/1', 'down 2', 'up 2/5'])
    await until(() => old.warned('handshake-refused').length > 0, 'the older one was refused')
    expect(old.warned('handshake-refused')[0]).toMatchObject({ reason: 'stale-incarnation', by: 'peer' })
    expect(a.warned('handshake-refused')[0]).toMatchObject({ reason: 'stale-incarnation', by: 'us' })
    expect(a.events.length).toBe(3)
  })

  it('between clusters is refused and logged once on both sides', async () => {
    const a = (await member(1)).identify()
    const b = (await member(2)).identify(1, 'cluster-b')
    b.knows(a)
    const refusals = () => b.lines.filter(({ event }) => event === 'handshake-refused').length
    await until(() => refusals() >= 3, 'it was tried again')
    for (const [one, by] of [
      [a, 'us'],
      [b, 'peer'],
    ] as const) {
      expect(one.warned('handshake-refused')).toMatchObject([{ code: 'HANDSHAKE_REFUSED', reason: 'cluster', by }])
      expect(one.events).toEqual([])
    }
  })

  it('with oneself, or with another node than was dialled, is refused', async () => {
    const [a, b] = [(await member(1)).identify(), (await member(2)).identify()]
    a.transport.setPeers(
      new Map([
        [7, a.address],
        [8, b.address],
      ]),
    )
    await until(() => a.warned('handshake-refused').length >= 3, 'all are refused')
    const reasons = a.warned('handshake-refused').map(({ reason }) => reason)
    expect(new Set(reasons)).toEqual(new Set(['self', 'wrong-node']))
    expect([...a.events, ...b.events]).toEqual([])
  })

  it('waits for a node that has no identity yet', async () => {
    const [a, b] = [await member(1), (await member(2)).identify()]
    b.knows(a)
    await until(() => b.lines.some(({ event }) => event === 'handshake-put-off'), 'it was put off')
    a.identify()
    await until(() => a.up.has(2) && b.up.has(1), 'both are up')
    expect([...a.warned('handshake-refused'), ...b.warned('handshake-refused')]).toEqual([])
  })

  it('needs the same secret on both sides', async () => {
    const a = (await member(1, { secret: 'open sesame' })).identify()
    const same = (await member(2, { secret: 'open sesame' })).identify()
    const other = (await member(3, { secret: 'open barley' })).identify()
    const none = (await member(4)).identify()
    for (const one of [same, other, none]) one.knows(a)
    await until(() => same.up.has(1), 'the one that knows it is up')
    for (const one of [other, none]) {
      await until(() => one.warned('handshake-refused').length > 0, 'the others are refused')
      expect(one.warned('handshake-refused')[0]).toMatchObject({ reason: 'secret', by: 'peer' })
    }
    expect(a.events).toEqual(['up 2/1'])
    expect(JSON.stringify([a, same, other, none].map(({ lines }) => lines))).not.toContain('open ')
  })
})

describe('a guest', () => {
  it('gets its answer, before and after the node has an identity', async () => {
    const [a, b] = [await member(1), await member(2)]
    b.onGuest = async (body) => Buffer.concat([Buffer.from('answer to '), body])
    const ask = (): Promise<Uint8Array> => a.transport.ask(b.address, Buffer.from('question'), 5_000)
    expect(Buffer.from(await ask()).toString()).toBe('answer to question')
    b.identify()
    expect(Buffer.from(await ask()).toString()).toBe('answer to question')
    const large = await Promise.all(Array.from({ length: 30 }, ask))
    expect(large.length).toBe(30)
  })

  it('gets the code of what went wrong', async () => {
    const [a, b] = [await member(1), await member(2, { secret: 'x' })]
    const refused = a.transport.ask(b.address, Buffer.alloc(0), 5_000)
    await expect(refused).rejects.toMatchObject({ code: 'HANDSHAKE_REFUSED', details: { reason: 'secret' } })
    const c = await member(3)
    c.onGuest = async () => {
      throw new CordilleraError('JOIN_REFUSED', { detail: 'the cluster is founded' })
    }
    const coded = a.transport.ask(c.address, Buffer.alloc(0), 5_000)
    await expect(coded).rejects.toMatchObject({ code: 'JOIN_REFUSED', message: 'the cluster is founded' })
    c.onGuest = () => new Promise(() => {})
    await expect(a.transport.ask(c.address, Buffer.alloc(0), 50)).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    const tooLarge = a.transport.ask(c.address, Buffer.alloc(1 << 20), 5_000)
    await expect(tooLarge).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    await c.transport.close()
    await expect(a.transport.ask(c.address, Buffer.alloc(0), 500)).rejects.toMatchObject({ code: 'UNAVAILABLE' })
    await expect(a.transport.ask('nonsense', Buffer.alloc(0), 500)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  })

  it('is told when the transport closes', async () => {
    const [a, b] = [await member(1), await member(2)]
    b.onGuest = () => new Promise(() => {})
    const asked = expect(a.transport.ask(b.address, Buffer.alloc(0), 5_000)).rejects.toMatchObject({ code: 'CLOSED' })
    await a.transport.close()
    await asked
    await expect(a.transport.ask(b.address, Buffer.alloc(0), 5_000)).rejects.toMatchObject({ code: 'CLOSED' })
  })
})

describe('garbage on the port', () => {
  const closed = (socket: Socket): Promise<string> =>
    new Promise((resolve) => {
      let text = ''
      socket.on('data', (chunk) => {
        text += chunk.toString('latin1')
      })
      socket.on('error', () => {})
      socket.on('close', () => resolve(text))
    })
  const tcp = (to: Member): Socket => connect(to.transport.address!.port, '127.0.0.1')
  const websocket = (to: Member, headers = {}, path = PEER_PATH): WebSocket => {
    const ws = new WebSocket(`ws://${to.address}${path}`, { headers, perMessageDeflate: false })
    ws.on('error', () => {})
    return ws
  }
  const ended = (ws: WebSocket): Promise<void> => new Promise((resolve) => ws.on('close', () => resolve()))

  it('of every kind is closed, logged, and leaves the node in service', async () => {
    const [a, b] = await pair()
    const http = tcp(a)
    http.write('GET /v1/kv/x HTTP/1.1\r\nHost: a\r\n\r\n')
    expect(await closed(http)).toContain('426')
    for (let i = 0; i < 5; i++) {
      const random = tcp(a)
      random.write(Buffer.from([0x16, 0x03, 0x01, 0xff, 0x00, 0x0d, 0x0a, i]))
      await closed(random)
    }
    await Promise.all([ended(websocket(a, { Origin: 'http://evil.example' })), ended(websocket(a, {}, '/other'))])
    for (const message of ['text', Buffer.alloc(0), Buffer.from('garbage'), Buffer.alloc(900), Buffer.alloc(3 << 20)]) {
      const ws = websocket(a)
      ws.on('open', () => ws.send(message))
      await ended(ws)
    }
    expect(a.warned('peer-port-garbage').length).toBe(1)
    expect(a.warned('handshake-garbage').length).toBe(1)
    expect(a.transport.send(2, frameOf('still there'))).toBe(true)
    await until(() => b.frames.length === 1, 'the frame has arrived')
    expect(textOf(b.frames[0]!)).toBe('still there')
    expect(a.events).toEqual(['up 2/1'])
  })

  it('that announces a large message is closed before it is gathered', async () => {
    const a = (await member(1, { limits: { handshakeMs: 60_000 } })).identify()
    const socket = tcp(a)
    const upgrade = ['Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13']
    const key = `Sec-WebSocket-Key: ${Buffer.alloc(16).toString('base64')}`
    socket.write(`GET ${PEER_PATH} HTTP/1.1\r\nHost: a\r\n${[...upgrade, key].join('\r\n')}\r\n\r\n`)
    const end = closed(socket)
    // A masked binary message of 8 MiB, of which 8 KiB come.
    const header = Buffer.from([0x82, 0xff, 0, 0, 0, 0, 0, 0x80, 0, 0, 1, 2, 3, 4])
    await new Promise((resolve) => socket.once('data', resolve))
    socket.write(Buffer.concat([header, Buffer.alloc(8192)]))
    expect(await end).toContain('101 Switching Protocols')
  })

  it('that stays silent is closed, and too many of them at once are turned away', async () => {
    const a = (await member(1, { limits: { handshakeMs: 200, strangersMax: 3 } })).identify()
    const silent = Array.from({ length: 3 }, () => websocket(a))
    await Promise.all(silent.map((ws) => new Promise((resolve) => ws.on('open', resolve))))
    const ends = silent.map(ended)
    await ended(websocket(a))
    expect(silent.every(({ readyState }) => readyState === WebSocket.OPEN)).toBe(true)
    await Promise.all(ends)
  })

  it('in a frame between nodes, damaged on its way, ends the connection, and nothing of it is handed on', async () => {
    const [a, b] = [(await member(1)).identify(), (await member(2)).identify()]
    const proxy = await proxyTo(b)
    a.transport.setPeers(new Map([[2, proxy.address]]))
    await until(() => a.up.has(2) && b.up.has(1), 'both are up')
    proxy.damage = true
    a.transport.send(2, Buffer.alloc(300_000, 1))
    await until(() => a.events.length >= 3 && b.events.length >= 3, 'they met again')
    expect(b.warned('peer-frame-corrupt').length).toBe(1)
    expect(b.events.slice(0, 2)).toEqual(['up 1/1', 'down 1'])
    expect(b.frames).toEqual([])
  })
})

describe('options', () => {
  const options = (more: object) => ({
    ...{ listen: { host: '127.0.0.1', port: 0 }, clock: undefined as never, logger: undefined as never },
    ...more,
  })
  const invalid = expect.objectContaining({ code: 'CONFIG_INVALID' })

  it('that reach beyond loopback need a secret', () => {
    for (const host of ['0.0.0.0', '::', '10.0.0.1', 'example.org', '127.evil.example']) {
      expect(() => new WebSocketTransport(options({ listen: { host, port: 0 } }))).toThrow(invalid)
      new WebSocketTransport(options({ listen: { host, port: 0 }, secret: 'x' }))
      new WebSocketTransport(options({ listen: { host, port: 0 }, allowWithoutSecret: true }))
    }
    expect(() => new WebSocketTransport(options({ advertise: '10.0.0.1:7100' }))).toThrow(invalid)
    expect(() => new WebSocketTransport(options({ advertise: 'nonsense' }))).toThrow(invalid)
    expect(() => new WebSocketTransport(options({ secret: '' }))).toThrow(invalid)
    for (const host of ['127.0.0.1', '::1', 'localhost', '127.1.2.3']) {
      new WebSocketTransport(options({ listen: { host, port: 0 } }))
    }
  })

  it('with a port that is in use are refused with the reason', async () => {
    const a = await member(1)
    const second = Member.start(2, { listen: a.transport.address! })
    await expect(second).rejects.toMatchObject({ code: 'CONFIG_INVALID', cause: { code: 'EADDRINUSE' } })
  })
})
