// Runs one of the clients in Node: `node run.mjs NAME SETTINGS`. It tells what it sees line by line.
const [name, settings] = process.argv.slice(2);
const { tokens, ...others } = JSON.parse(settings);
const tell = ({ open, type, data, lastEventId, error }) =>
  console.log(JSON.stringify({ open, type, data, id: lastEventId, error }));
const token = async () => (Date.now() < tokens.until ? tokens.first : tokens.second);
const { start } = await import(`./${name}.mjs`);
await start({ ...others, token }, tell);
