// npm run bench -- [peers] [options]: the engine alone, or beside other runtimes; --help shows the options of each
const peers = process.argv[2] === 'peers'
if (peers) process.argv.splice(2, 1)
await import(peers ? './peers.js' : './engine.js')
