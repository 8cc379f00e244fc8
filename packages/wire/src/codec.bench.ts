/**
 * What a message costs to encode and to decode, in ns, and what a call costs through two `PeerLinks` without sockets.
 *
 * Run by hand: `npx rolldown packages/wire/src/codec.bench.ts --platform node --format esm -o bench.mjs`, then
 * `node bench.mjs`.
 */
import { Buffer } from 'node:buffer'
import { type Message, sealEntry } from '@cordillera/raft-core'
import { OutgoingFrames } from './outgoing-frames.js'
import { writeMessage } from './raft-codec.js'
import type { RangeReply, RangeRequest } from './range-call.js'
import { replyShape, writeReply } from './range-reply-codec.js'
import { writeRequest } from './range-request-codec.js'
import { type RecordSink, readFrame } from './read-frame.js'

const FRAMES = 20_000
const PER_FRAME = 64
const from = { from: 101, to: 205, term: 7 }
const samples: Readonly<Record<string, Message>> = {
  heartbeat: { kind: 'heartbeat', ...from, commitIndex: 123_456, readRound: 9, quiesce: false },
  'append reply': {
    ...{ kind: 'append-reply', ...from, accepted: true, index: 123_456 },
    ...{ hintIndex: 0, hintTerm: 0 },
  },
  'append of one entry of 330 B': append(1),
  'append of four entries of 330 B': append(4),
}
const block = Buffer.alloc(300)
const calls: Readonly<Record<string, [RangeRequest, RangeReply]>> = {
  'write of 300 B': [
    { kind: 'write', rangeId: 5, count: 1, block },
    { kind: 'written', outcomes: [123_456] },
  ],
  'read of four keys': [
    {
      kind: 'read',
      rangeId: 5,
      epochVersion: 1,
      at: 0,
      byFollower: false,
      keys: new Array<string>(4).fill('default\x000123456789abcdef'),
    },
    { kind: 'values', values: new Array(4).fill({ version: 123_456, value: Buffer.alloc(256) }) },
  ],
}

function append(count: number): Message {
  const entries = Array.from({ length: count }, (_, i) => sealEntry(7, 1001 + i, 0, Buffer.alloc(348)))
  return { kind: 'append-request', ...from, prevIndex: 1000, prevTerm: 7, commitIndex: 999, entries }
}

let handled = 0
class CountingSink implements RecordSink {
  isDeaf = false
  shape: ReturnType<typeof replyShape> | undefined
  onDurable(): void {}
  onLife(): void {}
  onOutdated(): void {}
  onPing(): void {}
  onPong(): void {}
  onSnapshot(): void {}
  onRaft(): void {
    handled++
  }
  onRequest(): void {
    handled++
  }
  shapeOf(): ReturnType<typeof replyShape> | undefined {
    return this.shape === undefined ? undefined : { ...this.shape, values: undefined, entries: undefined }
  }
  onReply(): void {
    handled++
  }
  onAsk(): void {}
  onAnswer(): void {}
  onAskFailed(): void {}
}

function measure(name: string, write: (frames: OutgoingFrames) => void, sink = new CountingSink()): void {
  let frame: Uint8Array = Buffer.alloc(0)
  const frames = new OutgoingFrames(
    (one) => {
      frame = one
      return true
    },
    () => 0,
  )
  const writeFrame = (): void => {
    for (let i = 0; i < PER_FRAME; i++) write(frames)
    frames.flush()
  }
  const read = (): void => readFrame(frame, sink)
  const [encodeNs, decodeNs] = [nsPerMessage(writeFrame), nsPerMessage(read)]
  const bytes = Math.round(frame.length / PER_FRAME)
  console.log(`${name}: ${bytes} B, encode ${encodeNs} ns, decode ${decodeNs} ns`)
}

function nsPerMessage(run: () => void): number {
  let best = Number.POSITIVE_INFINITY
  for (let round = 0; round < 5; round++) {
    const start = performance.now()
    for (let i = 0; i < FRAMES / 5; i++) run()
    best = Math.min(best, performance.now() - start)
  }
  return Math.round((best * 1e6) / ((FRAMES / 5) * PER_FRAME))
}

for (const [name, message] of Object.entries(samples)) measure(name, ({ out }) => writeMessage(out, 5, message))
for (const [name, [request, reply]] of Object.entries(calls)) {
  measure(`request: ${name}`, ({ out }) => writeRequest(out, 1234, request))
  const sink = new CountingSink()
  sink.shape = replyShape(request)
  measure(`reply: ${name}`, (frames) => writeReply(frames, 1234, reply), sink)
}
console.log(`${handled} records`)
