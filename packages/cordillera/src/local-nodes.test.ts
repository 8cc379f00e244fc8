import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { useNode } from './local-nodes.js'

it('who comes in the turn in which the last user leaves gets a node that lives', async () => {
  const location = await mkdtemp(join(tmpdir(), 'cordillera-nodes-'))
  try {
    const first = await useNode(location, true)
    const leaving = first.release()
    const second = await useNode(location, true)
    await leaving
    const { node, clock } = second.embedded
    const error = await new Promise((resolve) => node.router.get('a\x00k', clock.now() + 5_000, resolve))
    expect(error).toBeUndefined()
    await second.release()
  } finally {
    await rm(location, { recursive: true, force: true })
  }
})
