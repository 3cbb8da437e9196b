// The gateway's own client.
export async function start({ url, client, token, types }, tell) {
  const { EventStream } = await import(client);
  const stream = new EventStream(url, { token });
  stream.onopen = () => tell({ open: true });
  stream.onerror = ({ status, wait }) => {
    tell({ error: { status, wait, final: stream.readyState === EventStream.CLOSED } });
  };
  for (const type of types) stream.addEventListener(type, tell);
}
