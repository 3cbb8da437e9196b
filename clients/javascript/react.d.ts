import type { EventStreamOptions, StreamErrorEvent } from "./client.d.ts";

/** The state of the hook's stream. */
export interface EventStreamState {
  /** `EventStream.CONNECTING`, `OPEN` or `CLOSED`. */
  readyState: 0 | 1 | 2;
  /** The last error, until the stream is open again. */
  error: StreamErrorEvent | null;
}

/**
 * Keeps a stream open while the component is mounted, and returns its state.
 *
 * `listeners` are called with each event of their type; `stream.gap` is one. They and `token` may be
 * new functions in each render. Another URL, another set of types, or other values of `categories`,
 * `types`, `share`, `withCredentials` or `silence` open another stream; `since`, `lastEventId` and `storage`
 * are read when a stream opens. A `url` of null opens no stream.
 */
export function useEventStream(
  url: string | URL | null,
  listeners: Record<string, (event: MessageEvent<string>) => void>,
  options?: EventStreamOptions,
): EventStreamState;
