import { CordilleraError, ManualClock, SeededRandom } from '@cordillera/base'
import { MemoryDisk } from '@cordillera/raft-log'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { decodeIdentity, encodeIdentity, type Identity, readIdentity, writeIdentity } from './identity.js'

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
})
