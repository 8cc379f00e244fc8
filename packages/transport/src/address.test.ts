import { silentLogger } from '@cordillera/base'
import { describe, expect, it } from 'vitest'
import { formatAddress, parseAddress } from './address.js'
import { dial } from './dial.js'
import { RealClock } from './testing/real-clock.js'
import { WebSocketTransport } from './web-socket-transport.js'

const good = ['127.0.0.1:0', 'localhost:7100', 'a-b.example:65535', '[::1]:7100', '[fe80::1]:1', 'x_y:80']
const bad = ['', 'host', ':80', 'host:', 'host:65536', 'host:-1', '::1:80', 'h/p:80', 'u@h:80', 'a b:80', 'h:80\n']
/** These have the form, and yet nothing can be dialled. */
const undialable = ['256.0.0.1:80', '1.2.3:4.5:80', 'a%b:80', '[:::]:80', '[1.2.3.4]:80', 'a<b:80']
const invalid = expect.objectContaining({ code: 'CONFIG_INVALID' })

describe('addresses', () => {
  it('are read as they are written', () => {
    for (const address of good) expect(formatAddress(parseAddress(address))).toBe(address)
  })

  it('of another form, or that cannot be dialled, are refused', () => {
    for (const address of [...bad, ...undialable]) expect(() => parseAddress(address), address).toThrow(invalid)
  })

  it('that were accepted can be dialled: nothing throws, whatever comes of it', () => {
    const clock = new RealClock()
    const events = { onOpen() {}, onFailed() {} }
    for (const address of good) expect(() => dial(address, clock, 1_000, events)(), address).not.toThrow()
  })

  it('that cannot be dialled are refused to whoever asks there', async () => {
    const listen = { host: '127.0.0.1', port: 0 }
    const transport = new WebSocketTransport({ listen, clock: new RealClock(), logger: silentLogger })
    for (const address of [...bad, ...undialable]) {
      await expect(transport.ask(address, Buffer.of(1), 10), address).rejects.toEqual(invalid)
    }
    await transport.close()
  })
})
