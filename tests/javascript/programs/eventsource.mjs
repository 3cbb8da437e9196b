// The package `eventsource`: a custom `fetch` sends a current token with each connection.
export async function start({ url, token, types }, tell) {
  const { EventSource } = await import("eventsource");
  const source = new EventSource(url, {
    fetch: async (target, init) => {
      const headers = { ...init.headers, Authorization: `Bearer ${await token()}` };
      return fetch(target, { ...init, headers });
    },
  });
  source.onopen = () => tell({ open: true });
  for (const type of types) source.addEventListener(type, tell);
}
