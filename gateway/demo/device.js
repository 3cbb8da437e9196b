// One device: an EventSource that the user can drop and resume with the last event id.

import { Continuity } from "/demo/continuity.js";

const RETRY_MS = 3000; // after a rejected request, which an EventSource does not retry

export const get = async (path, options) => {
  const answer = await fetch(path, options);
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
};

export class Device {
  continuity = new Continuity();
  lastId = null;
  state = "connecting";
  #config;
  #view;
  #user = null;
  #categories = [];
  #source = null;
  #attempt = 0; // responses to earlier attempts are ignored
  #waiting = null; // events that arrive before the response with the lane counts
  #began = null; // time of the first attempt: the position to resume from before the first id
  #awaySince = null;
  #timer = 0;

  constructor(config, view) {
    this.#config = config;
    this.#view = view;
  }

  // Changes the categories at the current position, or the user from now on.
  follow(user, categories) {
    if (user !== this.#user) {
      this.continuity = new Continuity();
      this.lastId = this.#began = this.#awaySince = null;
      this.#view.clear();
    }
    this.#user = user;
    this.#categories = categories;
    this.continuity.keep((lane) => this.#follows(lane));
    if (this.state !== "away" && this.state !== "dropped") this.#open("connecting");
  }

  // Closes the connection like a network failure, and reconnects after `seconds`.
  disconnect(state, seconds) {
    this.close();
    this.#awaySince = Date.now();
    this.#view.note(state, state === "away" ? "You went offline." : "Connection dropped.");
    this.#countDown(state, Date.now() + seconds * 1000);
  }

  // Reconnects before the time is over.
  comeBack() {
    this.#open("connecting");
  }

  close() {
    this.#attempt += 1;
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  #countDown(state, until) {
    const left = Math.ceil((until - Date.now()) / 1000);
    if (left <= 0) return this.#open("connecting");
    this.#enter(state, left);
    this.#timer = setTimeout(() => this.#countDown(state, until), (until - Date.now()) % 1000 || 1000);
  }

  #enter(state, seconds) {
    this.state = state;
    this.#view.state(state, seconds);
  }

  async #open(state) {
    this.close();
    const attempt = this.#attempt;
    if (!this.#categories.length) return this.#enter("idle");
    this.#enter(state);
    try {
      const { token } = await get(`/demo/token?user=${encodeURIComponent(this.#user)}`);
      if (attempt === this.#attempt) this.#listen(token, attempt);
    } catch {
      if (attempt === this.#attempt) this.#retry();
    }
  }

  #listen(token, attempt) {
    const query = new URLSearchParams({ access_token: token });
    if (!this.#unfiltered) query.set("categories", this.#categories.join(","));
    if (this.lastId) query.set("Last-Event-ID", this.lastId);
    else if (this.#began) query.set("since", this.#began);
    const source = new EventSource(`/api/v1/events?${query}`);
    this.#source = source;
    this.#waiting = [];
    source.onopen = () => this.#opened(attempt);
    source.onerror = () => this.#failed();
    for (const type of this.#config.types) {
      source.addEventListener(type, (event) => {
        if (this.#waiting) this.#waiting.push(event);
        else this.#receive(event);
      });
    }
  }

  async #opened(attempt) {
    const path = `/demo/counts?user=${encodeURIComponent(this.#user)}`;
    const { now, lanes } = await get(path).catch(() => ({ now: null, lanes: {} }));
    if (attempt !== this.#attempt) return;
    this.#began ??= now;
    const followed = Object.entries(lanes).filter(([lane]) => this.#follows(lane));
    const missed = this.continuity.open(Object.fromEntries(followed));
    this.#enter("live");
    if (this.#awaySince) {
      const seconds = ((Date.now() - this.#awaySince) / 1000).toFixed(1);
      this.#view.note("back", `Back after ${seconds} s, with the last event id: ${missed} missed.`);
      this.#awaySince = null;
    }
    const waiting = this.#waiting ?? [];
    this.#waiting = null;
    for (const event of waiting) if (attempt === this.#attempt) this.#receive(event);
  }

  get #unfiltered() {
    return this.#categories.length === Object.keys(this.#config.categories).length;
  }

  #follows(lane) {
    return this.#unfiltered || this.#categories.includes(lane.split(":").pop());
  }

  #receive(event) {
    this.lastId = event.lastEventId || this.lastId;
    const data = JSON.parse(event.data);
    if (event.type === "stream.gap") {
      this.continuity.excuse();
      this.#view.note("gap", `Gap in the ${data.log} log (${data.reason}): the missing events cannot be delivered.`);
    } else if (event.type === "stream.close") {
      this.#awaySince ??= Date.now();
      this.#view.note("close", `The gateway ends this stream: ${data.reason}.`);
      // The browser would reconnect with the same expired token and be rejected.
      if (data.reason === "token_expired" || data.reason === "revoked") this.#open("reconnecting");
    } else {
      const origin = this.continuity.count(data.lane, data.seq, event.lastEventId);
      this.#view.event({ type: event.type, data, id: event.lastEventId, origin });
    }
  }

  #failed() {
    this.#awaySince ??= Date.now();
    this.#waiting ??= []; // the browser resumes after the waiting events
    if (this.#source.readyState === EventSource.CLOSED) this.#retry();
    else this.#enter("reconnecting");
  }

  #retry() {
    this.close();
    this.#enter("reconnecting");
    this.#timer = setTimeout(() => this.#open("reconnecting"), RETRY_MS);
  }
}
