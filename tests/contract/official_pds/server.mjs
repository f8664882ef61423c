// The reference PDS with an in-memory PLC directory, both on the loopback interface.
//
//   node server.mjs DATA_FOLDER
//
// Prints {"pds": url, "plc": url} on one line when it is up, and ends when its stdin ends.
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import { PDS } from '@atproto/pds'
import * as plc from '@did-plc/lib'

const LOOPBACK = '127.0.0.1'
const folder = process.argv[2]
const operations = new Map()

const directory = http.createServer(async (request, response) => {
  const reply = (status, body) => {
    response.writeHead(status, { 'content-type': 'application/json' })
    response.end(JSON.stringify(body))
  }
  const [did, what] = decodeURIComponent(request.url.slice(1)).split(/\/(.*)/)
  if (request.method === 'POST') {
    const parts = await request.toArray()
    operations.set(did, JSON.parse(Buffer.concat(parts).toString()))
    return reply(200, {})
  }
  if (did === '_health') return reply(200, {})
  const operation = operations.get(did)
  if (!operation) return reply(404, { message: `DID not registered: ${did}` })
  const data = plc.opToData(did, operation)
  if (what === 'data') return reply(200, data)
  return reply(what ? 404 : 200, plc.formatDidDoc(data))
})
directory.listen(0, LOOPBACK)
await once(directory, 'listening')

// The PDS must know its own port before it listens.
const placeholder = http.createServer().listen(0, LOOPBACK)
await once(placeholder, 'listening')
const port = placeholder.address().port
placeholder.close()
await once(placeholder, 'close')

const plcUrl = `http://localhost:${directory.address().port}`
const pds = await PDS.fromEnv({
  port,
  hostname: 'localhost',
  serviceHandleDomains: ['.test'],
  inviteRequired: false,
  devMode: true,
  dataDirectory: folder,
  blobstoreDiskLocation: `${folder}/blobs`,
  blobstoreDiskTmpLocation: `${folder}/blobs-tmp`,
  didPlcUrl: plcUrl,
  enableDidDocWithSession: true,
  rateLimitsEnabled: false,
  disableSsrfProtection: true,
  jwtSecret: randomBytes(16).toString('hex'),
  adminPassword: randomBytes(16).toString('hex'),
  plcRotationKeyK256PrivateKeyHex: randomBytes(32).toString('hex'),
})
await pds.ctx.sequencer.start()
// Not pds.start(), which listens on every interface.
pds.app.listen(port, LOOPBACK, () => {
  console.log(JSON.stringify({ pds: `http://localhost:${port}`, plc: plcUrl }))
})

process.stdin.resume()
process.stdin.on('end', () => process.exit(0))
