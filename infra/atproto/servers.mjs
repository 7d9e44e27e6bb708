// Bluesky's own servers on this machine: identity directory, data server (PDS) and AppView.
// Prints one line of JSON when they answer, and stops when its standard input ends.

import net from 'node:net'
import { TestNetwork } from '@atproto/dev-env'

const LOOPBACK = '127.0.0.1'

// The servers listen on every interface of a machine; here they must not.
const { listen } = net.Server.prototype
net.Server.prototype.listen = function (where, ...rest) {
  if (where !== null && typeof where === 'object') {
    return listen.call(this, { ...where, host: LOOPBACK }, ...rest)
  }
  if (typeof rest[0] === 'string') rest.shift()
  return listen.call(this, where, LOOPBACK, ...rest)
}

function freePort() {
  return new Promise((resolve, reject) => {
    const probe = net.createServer().on('error', reject)
    probe.listen(0, () => {
      const { port } = probe.address()
      probe.close(() => resolve(port))
    })
  })
}

// This version of the servers asks for it and never uses it.
process.env.REDIS_HOST ??= LOOPBACK

const port = await freePort()
const appview = `http://${LOOPBACK}:${port}`
const network = await TestNetwork.create({
  dbPostgresUrl: process.env.ATPROTO_POSTGRES,
  dbPostgresSchema: 'likewise',
  pds: {
    jwtSecret: process.env.ATPROTO_JWT_SECRET,
    rateLimitsEnabled: true,
    rateLimitBypassKey: process.env.ATPROTO_BYPASS,
  },
  bsky: { port, publicUrl: appview },
})

const pds = `http://${LOOPBACK}:${network.pds.port}`
process.stdout.write(`${JSON.stringify({ pds, appview })}\n`)

process.stdin.resume().on('end', async () => {
  await network.close().catch(() => {})
  process.exit(0)
})
