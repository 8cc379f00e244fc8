import { createServer } from 'node:http'

/**
 * What Node.js itself can do on this machine: a server that keeps nothing. PUT and POST answer with the body they were
 * sent, everything else with the same 256 bytes. It tells its port to the process that forked it.
 */
const HELLO = Buffer.alloc(256, 'hello ')

const server = createServer((request, response) => {
  if (request.method !== 'PUT' && request.method !== 'POST') return answer(response, HELLO)
  const chunks = []
  request.on('data', (chunk) => chunks.push(chunk))
  request.on('end', () => answer(response, chunks.length === 1 ? chunks[0] : Buffer.concat(chunks)))
})

function answer(response, body) {
  response.writeHead(200, { 'content-type': 'application/octet-stream', 'content-length': body.length })
  response.end(body)
}

server.keepAliveTimeout = 60_000
server.listen(0, '127.0.0.1', () => process.send?.({ port: server.address().port }))
process.on('disconnect', () => process.exit(0))
