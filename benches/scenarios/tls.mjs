// 1,000 TLS connections that stay open after some requests, with both ends in this process; then 95 % of them are closed.
import { once } from 'node:events'
import { createServer } from 'node:https'
import { connect } from 'node:tls'
import { makeCertificate } from './certificate.mjs'
import { idle } from './idle.mjs'

const { key, cert } = makeCertificate()
const answer = JSON.stringify(Array.from({ length: 100 }, (_, id) => ({ id, name: `user-${id}` })))
const server = createServer({ key, cert, keepAliveTimeout: 0 }, (request, response) => {
  request.resume().on('end', () => response.setHeader('content-type', 'application/json').end(answer))
})
await once(server.listen(0, '127.0.0.1'), 'listening')
const { port } = server.address()

/** Sends a request and waits for the end of the answer. */
function ask(socket) {
  return new Promise((resolve, reject) => {
    let read = ''
    const take = (data) => {
      read += data.toString('latin1')
      if (!read.endsWith(']') && !read.endsWith(']\r\n0\r\n\r\n')) return
      socket.off('data', take).off('error', reject)
      resolve()
    }
    socket.on('data', take).on('error', reject)
    socket.write(`GET / HTTP/1.1\r\nhost: localhost\r\n\r\n`)
  })
}

const sockets = []
async function open() {
  while (sockets.length < 1000) {
    const socket = connect({ port, host: '127.0.0.1', ca: cert, servername: 'localhost' })
    sockets.push(socket)
    await once(socket, 'secureConnect')
    for (let i = 0; i < 5; i++) await ask(socket)
  }
}
await Promise.all(Array.from({ length: 20 }, open))
for (const socket of sockets.splice(50)) await once(socket.destroy(), 'close')
await idle(sockets)
