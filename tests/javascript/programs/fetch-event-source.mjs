// The package `@microsoft/fetch-event-source`. It is made for pages: without a `window` it fails.
export async function start({ url, token, library }, tell) {
  globalThis.window ??= globalThis;
  const { fetchEventSource } = await import(library ?? "@microsoft/fetch-event-source");
  let retry = 100;
  let lastId = "";
  await fetchEventSource(url, {
    openWhenHidden: true,
    fetch: async (target, init) => {
      // Its own last id is that of an event of which only the beginning may have come.
      const { "last-event-id": _, ...others } = init.headers;
      const headers = { ...others, Authorization: `Bearer ${await token()}` };
      if (lastId) headers["Last-Event-ID"] = lastId;
      return fetch(target, { ...init, headers });
    },
    async onopen(response) {
      if (response.status !== 200) throw new Error(response.status);
      tell({ open: true });
    },
    onmessage({ event, data, id, retry: told }) {
      retry = told ?? retry;
      lastId = id || lastId;
      if (data) tell({ type: event, data, lastEventId: id }); // not for a block that is but an id
    },
    onclose() {
      throw new Error("the stream has ended"); // or it does not come back
    },
    onerror() {
      return retry;
    },
  });
}
