/** The version of this client: that of the gateway that it came with. */
export const VERSION: string;

export interface EventStreamOptions {
  /**
   * Returns a token: asked for at first, when the stream ends because its token expires or was
   * revoked, and once more when one is refused. An empty token closes the stream. A
   * callback that throws, or does not return within `silence`, is a failure to connect. Without
   * this option only cookies are sent.
   */
  token?: () => string | null | undefined | Promise<string | null | undefined>;
  /** Only events of these categories. */
  categories?: string[];
  /** Only events of these types; `import.*` stands for all types that begin with `import.`. */
  types?: string[];
  /** Where to begin without an id: a time, RFC 3339 with offset, or Unix ms. */
  since?: Date | string | number;
  /** Where to begin; it wins over what `storage` has. */
  lastEventId?: string;
  /**
   * Keeps the last event id over reloads: `sessionStorage`, `localStorage`, or an object with these
   * two methods. A function, `() => localStorage`, also works where the browser forbids the access.
   * A storage that throws costs the id, not the stream.
   */
  storage?: IdStorage | (() => IdStorage);
  /**
   * Tabs that give the same name, URL, categories and types share one connection. Name the user: all
   * tabs that share get this user's events. Without Web Locks every tab has a separate connection.
   */
  share?: string;
  /** Sends cookies to another origin too. */
  withCredentials?: boolean;
  /** Ms without a byte after which the connection is dead; the default, 90,000, is three heartbeats. */
  silence?: number;
}

export type IdStorage = Pick<Storage, "getItem" | "setItem">;

/** One block of a stream; `data` is null where the block only moves the id. */
export interface Block {
  type: string;
  data: string | null;
  id: string;
}

/** Parses the text of a stream by the HTML standard, wherever it is cut. */
export class Parser {
  /** `lastEventId` is that of the connection before. */
  constructor(lastEventId?: string);
  /** As the stream has set it, in ms. */
  retry: number | null;
  /** Returns the blocks that this text completes. Throws `RangeError` where an event exceeds 16 Mi characters. */
  feed(text: string): Block[];
}

/** A connection was lost or refused; the stream's `readyState` says whether for good. */
export class StreamErrorEvent extends Event {
  constructor(facts: { status: number; detail: string; wait: number });
  /** HTTP status; 0 without a response, or if the stream had been open. */
  readonly status: number;
  readonly detail: string;
  /** Ms until the next try. */
  readonly wait: number;
}

/**
 * The payload of an event `stream.gap`. Reason `tab`: other tabs no longer keep the events that this
 * tab missed, for example while it was frozen; only where the connection is shared.
 */
export interface Gap {
  reason: "expired" | "limit" | "reset" | "invalid" | "schema" | "tab";
  log?: "user" | "broadcast";
  partition?: number;
  from?: number;
  to?: number;
  since?: string;
}

/** The payload of an event `stream.close`. */
export interface Goodbye {
  reason: "draining" | "max_age" | "slow" | "token_expired" | "revoked" | "replaced" | "closed";
}

/** An `EventSource` that sends a bearer token, comes back after refusals, and can be shared. */
export class EventStream extends EventTarget {
  static readonly CONNECTING: 0;
  static readonly OPEN: 1;
  static readonly CLOSED: 2;

  constructor(url: string | URL, options?: EventStreamOptions);

  readonly url: string;
  readonly readyState: 0 | 1 | 2;
  /** That of the last event or heartbeat. */
  readonly lastEventId: string;

  onopen: ((event: Event) => void) | null;
  onmessage: ((event: MessageEvent<string>) => void) | null;
  onerror: ((event: StreamErrorEvent) => void) | null;
  /** An event `stream.gap`: fetch the state again. Its data is a `Gap`, as JSON. */
  ongap: ((event: MessageEvent<string>) => void) | null;
  /** An event `stream.close`: a connection's end. Its data is a `Goodbye`, as JSON. */
  onclose: ((event: MessageEvent<string>) => void) | null;

  addEventListener(type: "open", listener: (event: Event) => void, options?: boolean | AddEventListenerOptions): void;
  addEventListener(type: "error", listener: (event: StreamErrorEvent) => void, options?: boolean | AddEventListenerOptions): void;
  addEventListener(type: string, listener: (event: MessageEvent<string>) => void, options?: boolean | AddEventListenerOptions): void;

  /** Ends the stream in this tab; if it led the tabs that share it, another tab takes over. */
  close(): void;
}
