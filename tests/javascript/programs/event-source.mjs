// The browser's EventSource with a cookie, which another page renews.
export function start({ url, types }, tell) {
  const source = new EventSource(url);
  source.onopen = () => tell({ open: true });
  for (const type of types) source.addEventListener(type, tell);
}
