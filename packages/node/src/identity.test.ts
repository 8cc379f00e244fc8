import { crc32 } from 'node:zlib'
import { CordilleraError, ManualClock, SeededRandom } from '@cordillera/base'
import { MemoryDisk } from '@cordillera/raft-log'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { foundingDocument } from './founding-document.js'
import { decodeIdentity, encodeIdentity, type Identity, readIdentity, writeIdentity } from './identity.js'

const node = { nodeId: 1, peerAddress: 'a:1', httpAddress: '', locality: '' }

/** As it would be written, whatever it says. */
function sealed(text: string, format = 1): Uint8Array {
  return new TextEncoder().encode(`cordillera-identity ${format} ${crc32(text)}\n${text}\n`)
}

const joining: Identity = { phase: 'joining', incarnation: 1, token: 'a'.repeat(32) }
const founding: Identity = {
  phase: 'founding',
  incarnation: 2,
  clusterId: 'c'.repeat(32),
  nodes: 3,
  ranges: 16,
  places: [],
}

describe('the identity of a directory', () => {
  it('reads back as it was written, and is absent from an empty directory', async () => {
    const clock = new ManualClock()
    const disk = new MemoryDisk({ clock })
    expect(await clock.run(readIdentity(disk))).toBeUndefined()
    await clock.run(writeIdentity(disk, joining))
    expect(await clock.run(readIdentity(disk))).toEqual(joining)
    await clock.run(writeIdentity(disk, founding))
    expect(await clock.run(readIdentity(disk))).toEqual(founding)
  })

  it('is the former one or the new one after a crash at any point, and the new one once written', async () => {
    const outcomes = new Set<string>()
    for (let seed = 1; seed <= 40; seed++) {
      for (let turns = 0; turns < 12; turns++) {
        const clock = new ManualClock()
        const disk = new MemoryDisk({ clock })
        await clock.run(writeIdentity(disk, joining))
        let isWritten = false
        writeIdentity(disk, founding).then(
          () => {
            isWritten = true
          },
          () => {},
        )
        await clock.drain(turns)
        const wasWritten = isWritten
        clock.clear()
        disk.crash({ keep: new SeededRandom(seed) })
        const found = await clock.run(readIdentity(disk))
        expect([joining, founding]).toContainEqual(found)
        if (wasWritten) expect(found).toEqual(founding)
        outcomes.add(`${found?.phase} ${wasWritten}`)
      }
    }
    expect([...outcomes].sort()).toEqual(['founding false', 'founding true', 'joining false'])
  })

  it('is refused when a single byte of it is another', () => {
    const bytes = encodeIdentity(founding)
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, flip) => {
        const damaged = Uint8Array.from(bytes)
        damaged[at]! ^= flip
        try {
          expect(decodeIdentity(damaged)).toEqual(founding)
        } catch (error) {
          expect(error).toBeInstanceOf(CordilleraError)
          expect((error as CordilleraError).code).toBe('DIRECTORY_INVALID')
        }
      }),
    )
    expect(() => decodeIdentity(new TextEncoder().encode('{}'))).toThrow('not one of ours')
    expect(() => decodeIdentity(new Uint8Array(0))).toThrow('not one of ours')
  })

  it('is refused when its checksum is right and what it says is not', () => {
    const document = foundingDocument('c'.repeat(32), [node], 2)
    const member = { phase: 'founded', incarnation: 1, nodeId: 1, document, places: [], replicasCreated: true }
    const decode = (text: string) => decodeIdentity(sealed(text))
    expect(decode(JSON.stringify(member))).toEqual(member)
    const joined = { ...member, nodeId: 2 }
    expect(decode(JSON.stringify(joined))).toEqual(joined)
    const wrong = [
      '',
      '{',
      'null',
      '[]',
      '{}',
      JSON.stringify({ ...joining, phase: 'leaving' }),
      JSON.stringify({ ...joining, incarnation: 0 }),
      JSON.stringify({ ...joining, token: 'short' }),
      JSON.stringify({ ...founding, places: [{ token: 'a'.repeat(32) }] }),
      JSON.stringify({ ...founding, nodes: '3' }),
      JSON.stringify({ ...member, nodeId: 2, replicasCreated: false }),
      JSON.stringify({ ...member, nodeId: 0 }),
      JSON.stringify({ ...member, replicasCreated: undefined }),
      JSON.stringify({ ...member, document: { ...document, descriptors: document.descriptors.slice(1) } }),
    ]
    for (const text of wrong) expect(() => decode(text), text).toThrow('it says what no node writes')
    expect(() => decodeIdentity(sealed('{}', 2))).toThrow('format 2 is not known')
  })
})
