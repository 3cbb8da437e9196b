// A client of the gateway for browsers, Node, Deno and Bun: an `EventSource` over `fetch`.
//
// It does what an `EventSource` does, and besides: sends a bearer token and asks for a new one when
// it has to; comes back also after a refusal, slower each time, unless no second try can change it;
// and, where it is given a name to `share`, has one connection for all tabs of a browser.
//
// Of the tabs that share one *leads*: it holds a Web Lock, reads the stream, and tells the others
// what it reads by a BroadcastChannel. Events are numbered, and each tab keeps the latest. Who gets
// the lock next first calls a roll: each tab states its position, and from then on ignores the
// former leader. Thus all have the same events before the new leader connects with the last id, and
// none is lost or comes twice, however the former one ended.

const CONNECTING = 0;
const OPEN = 1;
const CLOSED = 2;

const RETRY_MS = 3000; // until the stream says `retry:`
const MAX_WAIT_MS = 30_000;
const SILENCE_MS = 90_000; // three heartbeats
const LIVED_MS = 1000; // a stream that ends sooner counts as a failure
const MIN_RETRY_MS = 200;
const ROLL_MS = 250; // how long a new leader waits for tabs that do not answer
const KEPT = 100; // events that a tab can catch up with
const MAX_TIMER_MS = 2 ** 31 - 1; // a longer one of `setTimeout` ends at once
const MAX_PAUSE_MS = 366 * 86_400_000;
const MAX_EVENT = 16 * 2 ** 20; // characters; the gateway's limit is 1.1 MB
const STALE_MS = 1000; // a connection silent for that long is not trusted after `online`

export const VERSION = "0.1.0";

const END = {
  opened: false,
  goodbye: "",
  status: 0, // of HTTP, where that was not 200
  detail: "the connection was lost",
  pause: 0, // ms that the server asks for
  renewed: false, // the token, before the next try
  final: false,
};

const HANDLERS = /** @type {const} */ ([
  ["open", "onopen"],
  ["message", "onmessage"],
  ["error", "onerror"],
  ["stream.gap", "ongap"],
  ["stream.close", "onclose"],
]);

/**
 * @typedef {{ type: string, data: string | null, id: string }} Block
 *   of a stream; one without data only moves the id
 * @typedef {{ n: number, id: string, type: string, data: string }} Numbered an event among tabs
 */

/** Parses the text of a stream by the HTML standard (§9.2.6); an event is limited to 16 Mi characters. */
export class Parser {
  /** @type {number | null} as the stream has set it, in ms */
  retry = null;
  #line = "";
  #afterCr = false;
  #data = "";
  #type = "";
  #id;

  /** @param {string} [lastEventId] that of the connection before */
  constructor(lastEventId = "") {
    this.#id = lastEventId;
  }

  /** Returns the blocks that this text completes; the decoder removes a BOM.
   * @param {string} text
   * @returns {Block[]} */
  feed(text) {
    if (this.#afterCr && text.startsWith("\n")) text = text.slice(1);
    else if (!text) return [];
    this.#afterCr = text.endsWith("\r");
    // Only the new text is searched: a line that comes in many pieces costs its length once.
    const lines = text.split(/\r\n|\r|\n/);
    lines[0] = this.#line + lines[0];
    this.#line = lines.pop() ?? "";
    const blocks = lines.flatMap((line) => (line ? this.#field(line) : this.#end()));
    if (this.#line.length + this.#data.length > MAX_EVENT) {
      throw new RangeError(`an event has more than ${MAX_EVENT} characters`);
    }
    return blocks;
  }

  /** @param {string} line
   * @returns {Block[]} */
  #field(line) {
    const [, name, value] = /** @type {string[]} */ (/^([^:]*)(?:: ?)?(.*)$/su.exec(line));
    if (name === "data") this.#data += `${value}\n`;
    else if (name === "event") this.#type = value;
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    else if (name === "retry" && /^[0-9]+$/.test(value)) this.retry = Number(value);
    return [];
  }

  /** @returns {Block[]} */
  #end() {
    const data = this.#data ? this.#data.slice(0, -1) : null;
    const block = { type: this.#type || "message", data, id: this.#id };
    this.#data = this.#type = "";
    return [block];
  }
}

/** Fired as `error` when a connection is lost or refused; `readyState` says whether for good. */
export class StreamErrorEvent extends Event {
  /** @param {{ status: number, detail: string, wait: number }} facts */
  constructor({ status, detail, wait }) {
    super("error");
    this.status = status; // HTTP status; 0 without a response
    this.detail = detail;
    this.wait = wait; // ms until the next try
  }
}

export class EventStream extends EventTarget {
  static CONNECTING = CONNECTING;
  static OPEN = OPEN;
  static CLOSED = CLOSED;

  readyState = CONNECTING;
  lastEventId = "";
  /** @type {((event: Event) => void) | null} */ onopen = null;
  /** @type {((event: MessageEvent) => void) | null} */ onmessage = null;
  /** @type {((event: StreamErrorEvent) => void) | null} */ onerror = null;
  /** @type {((event: MessageEvent) => void) | null} */ ongap = null;
  /** @type {((event: MessageEvent) => void) | null} */ onclose = null;

  #options;
  #key;
  /** @type {string | undefined} */ #token;
  #refused = false; // the last token
  #retry = RETRY_MS;
  #heard = 0; // when the last bytes came, by `Date.now()`
  #cut = () => {}; // ends the present connection
  #hurried = false; // it was ended to connect again at once
  #patient = false; // the server has set the present wait
  #leaving = new AbortController(); // this tab's place among the tabs, and its connection
  #wake = () => {};
  #due = 0;

  // What tabs share. A group lives as long as one of its tabs, and numbers its events from 1.
  #shares = false;
  /** @type {BroadcastChannel | null} */ #channel = null;
  #leads = false;
  #term = 0;
  #group = "";
  #n = 0;
  /** @type {Numbered[]} */ #recent = [];
  #answered = () => {};
  #watching = () => {}; // stops the watch over a leader

  /**
   * @param {string | URL} url
   * @param {import("./client.d.ts").EventStreamOptions} [options]
   */
  constructor(url, options = {}) {
    super();
    const target = new URL(url, globalThis.location?.href);
    if (options.categories?.length) target.searchParams.set("categories", options.categories.join());
    if (options.types?.length) target.searchParams.set("types", options.types.join());
    if (options.since !== undefined) {
      const { since } = options;
      target.searchParams.set("since", since instanceof Date ? since.toISOString() : `${since}`);
    }
    this.url = target.href;
    this.#options = options;
    this.#key = `gateway ${options.share ?? ""} ${this.url}`;
    this.#restore();
    this.lastEventId = options.lastEventId ?? this.lastEventId;
    for (const [type, handler] of HANDLERS) {
      this.addEventListener(type, (event) => this[handler]?.(/** @type {any} */ (event)));
    }
    const { navigator, document, BroadcastChannel } = globalThis;
    this.#shares = options.share !== undefined && !!navigator?.locks && !!document && !!BroadcastChannel;
    for (const [type, act] of this.#lifecycle) globalThis.addEventListener?.(type, act, true);
    if (this.#shares) this.#join();
    else this.#read(this.#leaving.signal);
  }

  /** Ends the stream in this tab; if it led, another tab takes over. */
  close() {
    this.readyState = CLOSED;
    for (const [type, act] of this.#lifecycle) globalThis.removeEventListener?.(type, act, true);
    this.#detach();
  }

  // Reading: in a tab that shares nothing, or leads.

  /** Connects again and again until the signal, or an answer that is final.
   * @param {AbortSignal} signal */
  async #read(signal) {
    let failures = 0;
    for (;;) {
      const begun = Date.now();
      const end = await this.#connect(signal);
      if (signal.aborted) return;
      // A stream that ends at once is a failure too, or reconnects would follow without a wait.
      failures = end.opened && Date.now() - begun > LIVED_MS ? 0 : failures + 1;
      let wait = this.#retry; // the server has drawn it
      if (this.#hurried || (end.renewed && (end.status === 401 || !failures))) wait = 0;
      else if (!end.goodbye || failures) {
        // Full jitter: clients that were cut off together do not reconnect together.
        const most = Math.max(this.#retry, MIN_RETRY_MS) * 2 ** failures;
        wait = Math.random() * Math.min(most, MAX_WAIT_MS);
      }
      wait = end.final ? 0 : Math.max(wait, end.pause);
      this.#hurried = false;
      this.#patient = end.status !== 0 || end.goodbye !== "";
      const { status, detail, final } = end;
      const planned = end.goodbye === "token_expired" && wait === 0;
      this.#publish({ kind: planned ? "renewal" : "error", status, detail, final, wait });
      if (final) return;
      await this.#sleep(wait, signal);
    }
  }

  /** Connects once, reads to the end, and returns how it was.
   * @param {AbortSignal} signal */
  async #connect(signal) {
    const end = { ...END };
    const connection = new AbortController();
    const cut = () => connection.abort();
    signal.addEventListener("abort", cut);
    this.#cut = cut;
    let stop = after(this.#silence, cut);
    const heard = () => {
      stop();
      this.#heard = Date.now();
      stop = after(this.#silence, cut);
    };
    try {
      const response = await this.#request(connection.signal);
      if (signal.aborted) return end;
      heard();
      if (response === null) {
        Object.assign(end, { final: true, detail: "there is no token" });
      } else if (response.ok && isStream(response) && response.body) {
        end.opened = true;
        this.#refused = false;
        this.#publish({ kind: "open" });
        end.goodbye = await this.#listen(response.body, signal, heard);
        end.detail = "the server ended the stream";
        end.renewed = end.goodbye === "token_expired" || end.goodbye === "revoked";
      } else {
        end.status = response.status;
        end.pause = pauseOf(response);
        // The token may just have been too old. That a new one is refused too is final.
        end.renewed = end.status === 401 && !!this.#options.token && !this.#refused;
        this.#refused = end.status === 401;
        end.final = !end.renewed && end.status !== 429 && end.status < 500;
        end.detail = await said(response);
      }
      if (end.renewed) this.#token = undefined;
    } catch (error) {
      if (connection.signal.aborted) end.detail = "the server does not answer";
      else if (!end.opened || error instanceof RangeError) end.detail = String(error);
    } finally {
      stop();
      signal.removeEventListener("abort", cut);
      this.#cut = () => {};
      cut();
    }
    return end;
  }

  /** Returns the response; null where the page returns an empty token.
   * @param {AbortSignal} signal */
  async #request(signal) {
    const { token, withCredentials } = this.#options;
    const headers = new Headers({ Accept: "text/event-stream" });
    if (token) {
      this.#token ??= (await unlessAborted(token(), signal)) || undefined;
      if (!this.#token) return null;
      if (/[^\x21-\x7e]/.test(this.#token)) {
        this.#token = undefined; // the error of `headers.set` would show it
        throw new TypeError("the token has characters that no header may have");
      }
      headers.set("Authorization", `Bearer ${this.#token}`);
    }
    if (this.lastEventId) headers.set("Last-Event-ID", utf8(this.lastEventId));
    const credentials = withCredentials ? "include" : "same-origin";
    return fetch(this.url, { headers, signal, credentials, cache: "no-store" });
  }

  /** Reads a stream to its end, and returns the reason that its `stream.close` gave.
   * @param {ReadableStream<Uint8Array>} body
   * @param {AbortSignal} signal
   * @param {() => void} heard */
  async #listen(body, signal, heard) {
    let goodbye = "";
    const parser = new Parser(this.lastEventId);
    const decoder = new TextDecoder();
    const reader = body.getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done || signal.aborted) return goodbye;
      heard();
      const blocks = parser.feed(decoder.decode(value, { stream: true }));
      this.#retry = Math.min(parser.retry ?? this.#retry, MAX_PAUSE_MS);
      for (const block of blocks) {
        if (block.type === "stream.close" && block.data) goodbye = reasonOf(block.data);
        this.#publish(block.data === null ? { kind: "id", id: block.id } : { kind: "event", ...block });
        if (signal.aborted) return goodbye; // by a listener of the event
      }
    }
  }

  get #silence() {
    const { silence = SILENCE_MS } = this.#options;
    return silence > 0 ? silence : SILENCE_MS;
  }

  /** @param {number} ms
   * @param {AbortSignal} signal */
  async #sleep(ms, signal) {
    this.#due = Date.now() + ms;
    await new Promise((/** @type {(_?: unknown) => void} */ done) => {
      const stop = after(ms, done);
      this.#wake = () => done(stop());
      signal.addEventListener("abort", this.#wake, { once: true });
    });
    signal.removeEventListener("abort", this.#wake);
    this.#wake = () => {};
  }

  /** Reconnects at once when the network is back, or the page is visible again: ends a wait that the
   * server has not set, or a connection that has been silent for `silence` ms.
   * @param {number} silence */
  #hurry(silence) {
    if (this.#channel && !this.#leads) {
      this.#post({ kind: "hurry", silence });
    } else if (this.readyState === OPEN && Date.now() - this.#heard > silence) {
      this.#hurried = true;
      this.#cut();
    } else if (this.readyState === CONNECTING && !this.#patient) {
      this.#wake();
    }
  }

  // What is read: told to the other tabs, and taken in each.

  /** @param {any} message */
  #publish(message) {
    message.n = this.#n + Number(message.kind === "event");
    this.#post(message);
    this.#receive(message);
  }

  /** @param {any} message */
  #receive(message) {
    if (this.readyState === CLOSED) return; // by a listener of an earlier event
    const { kind, n, id, type, data } = message;
    if (kind === "event") {
      this.#n = n;
      this.#recent = [...this.#recent.slice(1 - KEPT), { n, id, type, data }];
      // In this order: a stored id must be that of an event which was dispatched.
      this.#dispatch(type, data, id);
      this.#keep(id);
    } else if (kind === "id") {
      this.#keep(id);
    } else if (kind === "open") {
      this.readyState = OPEN;
      this.dispatchEvent(new Event("open"));
    } else if (kind === "renewal") {
      this.readyState = CONNECTING;
    } else if (kind === "error") {
      this.readyState = CONNECTING;
      if (message.final) this.close();
      this.dispatchEvent(new StreamErrorEvent(message));
    }
  }

  /** @param {string} type
   * @param {string} data
   * @param {string} lastEventId */
  #dispatch(type, data, lastEventId) {
    const { origin } = new URL(this.url);
    this.dispatchEvent(new MessageEvent(type, { data, lastEventId, origin }));
  }

  /** @param {string} id */
  #keep(id) {
    this.lastEventId = id;
    const position = JSON.stringify({ id, group: this.#group, n: this.#n });
    try {
      this.#storage?.setItem(this.#key, position);
    } catch {
      // Full or forbidden: delivery continues, and a reload resumes from the stored id.
    }
  }

  #restore() {
    try {
      const { id, group, n } = JSON.parse(this.#storage?.getItem(this.#key) ?? "{}");
      if (typeof id !== "string" || /[\0\r\n]/.test(id)) return;
      this.lastEventId = id;
      if (typeof group === "string" && Number.isSafeInteger(n)) [this.#group, this.#n] = [group, n];
    } catch {
      // Forbidden, or not written by this client: start without an id.
    }
  }

  get #storage() {
    const { storage } = this.#options;
    return typeof storage === "function" ? storage() : storage;
  }

  // Sharing.

  #join(steal = false) {
    this.#leaving = new AbortController();
    const { signal } = this.#leaving;
    try {
      this.#channel = new BroadcastChannel(this.#key);
      this.#channel.onmessage = ({ data }) => this.#hear(data);
      this.#post({ kind: "ask" });
      this.#watch();
      navigator.locks
        .request(this.#key, steal ? { steal } : { signal }, () => this.#lead(signal))
        .catch((error) => {
          if (signal.aborted) return;
          if (error?.name === "AbortError") this.#rejoin(); // the lock was stolen
          else this.#separate();
        });
    } catch {
      this.#separate();
    }
  }

  /** Opens a separate connection: this page may not share, for example in an opaque origin. */
  #separate() {
    this.#detach();
    this.#shares = false;
    this.#leaving = new AbortController();
    this.#read(this.#leaving.signal);
  }

  #detach = () => {
    this.#leaving.abort();
    this.#watching();
    this.#leads = false;
    this.#channel?.close();
    this.#channel = null;
  };

  #rejoin = (steal = false) => {
    this.#detach();
    this.readyState = CONNECTING;
    this.#join(steal);
  };

  #thaw = () => {
    if (this.#leaving.signal.aborted) this.#rejoin();
  };

  // A page that freezes, or waits in the back/forward cache, must release the lock. The document
  // gets the freeze event; the window captures it.
  /** @returns {[string, () => void][]} */
  get #lifecycle() {
    const [online, visible] = [this.#isOnline, this.#isVisible];
    /** @type {[string, () => void][]} */
    const always = [["online", online], ["visibilitychange", visible], ["pageshow", visible]];
    if (!this.#shares) return always;
    const [detach, thaw] = [this.#detach, this.#thaw];
    return [...always, ["freeze", detach], ["pagehide", detach], ["resume", thaw], ["pageshow", thaw]];
  }

  #isOnline = () => this.#hurry(STALE_MS);

  #isVisible = () => {
    if (!globalThis.document?.hidden) this.#hurry(this.#silence / 2);
  };

  /** @param {AbortSignal} signal */
  async #lead(signal) {
    this.#term = Math.max(this.#term + 1, Date.now());
    const { pending = [] } = await navigator.locks.query().catch(() => ({ pending: [] }));
    if (signal.aborted) return;
    this.#watching();
    let missing = pending.filter(({ name }) => name === this.#key).length;
    await new Promise((/** @type {(_?: unknown) => void} */ done) => {
      this.#answered = () => --missing < 1 && done();
      this.#post({ kind: "roll" });
      setTimeout(done, missing && ROLL_MS);
    });
    if (signal.aborted) return;
    this.#group ||= `${Math.random()}`;
    this.#leads = true;
    this.#post(this.#state());
    await this.#read(signal);
  }

  /** @param {any} message */
  #hear(message) {
    const { kind, term, group, n } = message ?? {};
    if (kind === "hurry" && this.#leads) this.#hurry(message.silence);
    if (kind === "hurry" || typeof term !== "number") return;
    if (kind === "ask" && this.#leads) this.#post(this.#state());
    if (kind === "wake" && this.#leads && Date.now() >= this.#due) this.#wake();
    if (kind === "ask" || kind === "wake" || term < this.#term) return;
    if (this.#leads && term > this.#term) return this.#rejoin(); // the lock was stolen
    this.#term = term;
    this.#watch(message.wait);
    if (kind === "roll") {
      this.readyState = CONNECTING;
      const ahead = this.#group !== "" && (group !== this.#group || n < this.#n);
      this.#post(ahead ? this.#state() : { kind: "here" });
    } else if (kind === "here" || kind === "state") {
      if (kind === "state") this.#catchUp(message);
      this.#answered();
    } else if (group !== this.#group || n > this.#n + Number(kind === "event")) {
      this.#post({ kind: "ask" });
    } else if (kind !== "event" || n > this.#n) {
      this.#receive(message);
      // Timers of a hidden page may be a minute late, so one that is seen has the time.
      if (message.wait && !document.hidden) {
        after(message.wait, () => this.#post({ kind: "wake" }));
      }
    }
  }

  /** @param {Record<string, unknown>} message */
  #post(message) {
    const place = { term: this.#term, group: this.#group, n: this.#n };
    try {
      this.#channel?.postMessage({ ...place, ...message });
    } catch {
      // The others take the lock once they have heard nothing for long enough.
    }
  }

  /** Where this tab is, and how others get there. */
  #state() {
    const open = this.#leads && this.readyState === OPEN;
    return { kind: "state", id: this.lastEventId, events: this.#recent, open };
  }

  /** @param {{ group: string, n: number, id: string, events: Numbered[], open: boolean }} state */
  #catchUp({ group, n, id, events, open }) {
    const strange = group !== this.#group;
    if (n < this.#n && !strange) return;
    if (strange || (n > this.#n && !events.some((event) => event.n === this.#n + 1))) {
      const missed = this.lastEventId !== "";
      this.lastEventId = id;
      [this.#group, this.#n, this.#recent] = [group, n, events];
      if (missed) this.#dispatch("stream.gap", '{"reason":"tab"}', id);
    }
    for (const event of events) if (event.n > this.#n) this.#receive({ kind: "event", ...event });
    this.#keep(id);
    if (open && this.readyState === CONNECTING) this.#receive({ kind: "open" });
  }

  /** Takes the lock from a tab that leads and says nothing for longer than a stream is silent.
   * @param {number} [more] */
  #watch(more = 0) {
    this.#watching();
    if (this.#leads) return;
    const patience = this.#silence * (1.2 + Math.random() / 5) + more;
    this.#watching = after(patience, () => this.#rejoin(true));
  }
}

/** Calls `act` after `ms`, which may exceed 31 bits; returns a function that cancels it.
 * @param {number} ms
 * @param {() => void} act */
function after(ms, act) {
  const due = performance.now() + ms;
  /** @type {ReturnType<typeof setTimeout>} */
  let timer;
  const step = () => {
    const left = due - performance.now();
    if (left > 0) timer = setTimeout(step, Math.min(left, MAX_TIMER_MS));
    else act();
  };
  timer = setTimeout(step, Math.min(ms, MAX_TIMER_MS));
  return () => clearTimeout(timer);
}

/** Returns the result of the promise; rejects when the signal is aborted.
 * @template T
 * @param {T | Promise<T>} promise
 * @param {AbortSignal} signal
 * @returns {Promise<T>} */
function unlessAborted(promise, signal) {
  return new Promise((done, failed) => {
    signal.addEventListener("abort", () => failed(signal.reason), { once: true });
    Promise.resolve(promise).then(done, failed);
  });
}

/** Returns the text as `fetch` takes it in a header: its UTF-8, a character for each byte.
 * @param {string} text */
function utf8(text) {
  return Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join("");
}

/** @param {Response} response */
function isStream(response) {
  return /^text\/event-stream\s*(;|$)/i.test(response.headers.get("Content-Type") ?? "");
}

/** Returns the ms of `Retry-After`, in seconds or as a date; 0 without a valid one.
 * @param {Response} response */
function pauseOf(response) {
  const text = response.headers.get("Retry-After") ?? "";
  const ms = /^\d+$/.test(text) ? 1000 * Number(text) : Date.parse(text) - Date.now();
  return ms > 0 ? Math.min(ms, MAX_PAUSE_MS) : 0;
}

/** @param {string} data */
function reasonOf(data) {
  try {
    return String(JSON.parse(data).reason);
  } catch {
    return "";
  }
}

/** @param {Response} response */
async function said(response) {
  const type = response.headers.get("Content-Type") ?? "";
  if (!/^application\/(problem\+)?json\b/.test(type)) return `it is ${type || "empty"}`;
  try {
    const { title, detail } = await response.json();
    return String(detail ?? title);
  } catch {
    return "it cannot be read";
  }
}
