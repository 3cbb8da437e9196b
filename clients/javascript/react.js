// A React hook around `EventStream`.
import { useEffect, useRef, useState } from "react";
import { EventStream } from "./client.js";

const START = { readyState: EventStream.CONNECTING, error: null };

/** @type {typeof import("./react.d.ts").useEventStream} */
export function useEventStream(url, listeners, options = {}) {
  const [state, setState] = useState(START);
  // A render makes new functions. They are called from now on, and do not open another stream.
  const latest = useRef({ listeners, options });
  useEffect(() => {
    latest.current = { listeners, options };
  });
  const types = Object.keys(listeners).sort();
  const target = url === null ? null : String(url);
  const { categories, types: chosen, share, withCredentials, silence } = options;
  const opening = JSON.stringify([target, types, categories, chosen, share, withCredentials, silence]);
  useEffect(() => {
    setState(START);
    if (target === null) return undefined;
    const { options } = latest.current;
    const token = options.token && (() => latest.current.options.token?.());
    const stream = new EventStream(target, { ...options, token });
    stream.onopen = () => setState({ readyState: EventStream.OPEN, error: null });
    stream.onerror = (error) => setState({ readyState: stream.readyState, error });
    for (const type of types) {
      stream.addEventListener(type, (event) => latest.current.listeners[type]?.(event));
    }
    return () => stream.close();
  }, [opening]);
  return state;
}
