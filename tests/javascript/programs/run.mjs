// Runs a client in Node: `node run.mjs NAME SETTINGS`. Prints each event as a line of JSON.
const [name, settings] = process.argv.slice(2);
const { tokens, ...others } = JSON.parse(settings);
const tell = ({ open, type, data, lastEventId, error }) =>
  console.log(JSON.stringify({ open, type, data, id: lastEventId, error }));
const token = async () => (Date.now() < tokens.until ? tokens.first : tokens.second);
const { start } = await import(`./${name}.mjs`);
await start({ ...others, token }, tell);
