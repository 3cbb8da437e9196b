// `fetch` and a stream reader: the code of a page without a library.
export async function start({ url, client, token }, tell) {
  const { Parser } = await import(client);
  let lastId = "";
  for (;;) {
    const headers = { Authorization: `Bearer ${await token()}` };
    if (lastId) headers["Last-Event-ID"] = lastId;
    try {
      const { status, body } = await fetch(url, { headers });
      if (status !== 200) throw new Error(status);
      tell({ open: true });
      const parser = new Parser(lastId);
      const reader = body.pipeThrough(new TextDecoderStream()).getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        for (const { type, data, id } of parser.feed(value)) {
          lastId = id;
          if (data !== null) tell({ type, data, lastEventId: id });
        }
      }
    } catch {}
    await new Promise((done) => setTimeout(done, 100));
  }
}
