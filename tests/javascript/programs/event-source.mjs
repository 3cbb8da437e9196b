// The browser's own, with a cookie: whoever renews that is not this page.
export function start({ url, types }, tell) {
  const source = new EventSource(url);
  source.onopen = () => tell({ open: true });
  for (const type of types) source.addEventListener(type, tell);
}
