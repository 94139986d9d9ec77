// An HL7 server made with node-hl7-server. It follows a script, one step a message, the last for ever, and tells on standard output what
// happens: one JSON object a line. Usage: node hl7_server.js '{"steps": ["AA"], "tls": {"key": "...", "cert": "...", "ca": "..."}}'
const fs = require('node:fs')
const net = require('node:net')
const { Server } = require('node-hl7-server')

const PIECE = 16 // bytes of an acknowledgement that go out together
const PAUSE_MS = 15 // between pieces: longer than a client takes to read one
const options = JSON.parse(process.argv[2])
const steps = [...options.steps]
let answering = '' // the step of the acknowledgement that is written now

const tell = (what) => process.stdout.write(JSON.stringify(what) + '\n')

// The first byte, the middle in pieces, and the two bytes that end a frame each for themselves.
function pieces (bytes) {
  const cuts = [0, 1]
  for (let at = 1 + PIECE; at < bytes.length - 2; at += PIECE) cuts.push(at)
  cuts.push(bytes.length - 2, bytes.length - 1, bytes.length)
  return cuts.slice(1).map((end, number) => bytes.subarray(cuts[number], end))
}

async function inPieces (write, bytes) {
  for (const piece of pieces(bytes)) {
    write(piece)
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
  }
}

// The package listens on every address, whatever bindAddress says.
const listen = net.Server.prototype.listen
net.Server.prototype.listen = function (options, ...rest) {
  return listen.call(this, { ...(typeof options === 'object' ? options : { port: options }), host: '127.0.0.1' }, ...rest)
}

const tls = options.tls && {
  key: fs.readFileSync(options.tls.key),
  cert: fs.readFileSync(options.tls.cert),
  ca: fs.readFileSync(options.tls.ca),
  requestCert: true
}
const server = new Server({ bindAddress: '127.0.0.1', ...(tls && { tls }) })

const inbound = server.createInbound({ port: 0 }, async (request, response) => {
  const message = request.getMessage()
  const step = steps.length > 1 ? steps.shift() : steps[0]
  const type = ['MSH.9.1', 'MSH.9.2', 'MSH.9.3'].map((part) => message.get(part).toString()).join('^')
  tell({ received: message.get('MSH.10').toString(), type, step })
  if (step === 'silence') return
  answering = step
  await response.sendResponse(step === 'split' ? 'AA' : step)
})

inbound.on('client.connect', (socket) => {
  tell({ connected: true })
  const write = socket.write.bind(socket)
  socket.write = (bytes) => (answering === 'split' ? inPieces(write, bytes) : write(bytes))
})
inbound.on('data.raw', (text) => tell({ raw: text }))
inbound.on('data.error', (error) => tell({ error: String(error) }))
inbound.on('client.error', () => {})
inbound.on('error', (error) => { tell({ error: String(error) }); process.exit(1) })
inbound.on('listen', () => tell({ listening: inbound._socket.address().port }))
process.stdin.resume()
process.stdin.on('end', () => process.exit(0)) // whoever started it is gone
