// The browser's own, with the token in the URL: the page makes a new one with each token.
export async function start({ url, token, types }, tell) {
  let lastId = "";
  const open = async () => {
    const target = new URL(url);
    target.searchParams.set("access_token", await token());
    if (lastId) target.searchParams.set("Last-Event-ID", lastId);
    const source = new EventSource(target);
    source.onopen = () => tell({ open: true });
    for (const type of types) {
      source.addEventListener(type, (event) => {
        lastId = event.lastEventId;
        tell(event);
        if (type !== "stream.close" || JSON.parse(event.data).reason !== "token_expired") return;
        source.close();
        open();
      });
    }
  };
  await open();
}
