import { expect, test } from 'vitest'
import { selfTimes } from './self-times.mjs'

const frame = (functionName, url = '', lineNumber = 0) => ({ functionName, url, lineNumber })

test('the time between two samples belongs to what ran at the first; idling belongs to nobody', () => {
  const profile = {
    nodes: [
      { id: 1, callFrame: frame('(root)'), children: [2, 5] },
      { id: 2, callFrame: frame('send', 'file:///x/packages/transport/dist/message-socket.js', 61), children: [3] },
      { id: 3, callFrame: frame('send', 'file:///x/node_modules/ws/lib/sender.js', 353), children: [4] },
      { id: 4, callFrame: frame('writev') },
      { id: 5, callFrame: frame('(idle)') },
    ],
    samples: [4, 5, 3, 4, 2],
    timeDeltas: [0, 30, 100, 7, 5],
  }
  const { byPackage, byFunction, byCaller } = selfTimes([profile, profile])
  expect(byPackage).toEqual([
    ['(native)', 70],
    ['ws', 14],
  ])
  expect(byFunction[0]).toEqual(['(native)  writev', 70])
  expect(byCaller).toEqual([['(native)  writev ← transport  send message-socket.js:62', 70]])
})
