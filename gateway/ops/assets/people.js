// The latest events, one user's streams, and the explanation of an event id.

import { bytes, count, make, NONE, seconds, setText, since, time, words } from "./text.js";

const ROWS_KEPT = 60;
const SURE_MS = 8000;

const byId = (id) => document.getElementById(id);

export class Sample {
  #hidden = new Set();
  #known = new Set();
  #paused = false;

  constructor() {
    byId("pause").onclick = (event) => {
      this.#paused = !this.#paused;
      event.target.textContent = this.#paused ? "Resume" : "Pause";
    };
  }

  add(events) {
    for (const event of events) this.#learn(event.category ?? "other");
    if (this.#paused) return;
    const body = byId("sample").tBodies[0];
    for (const event of events) body.prepend(this.#row(event));
    while (body.rows.length > ROWS_KEPT) body.lastElementChild.remove();
    byId("sample-empty").hidden = true;
  }

  #row(event) {
    const category = event.category ?? "other";
    const row = make(
      "tr",
      { "data-category": category },
      make("td", {}, time(event.at)),
      make("td", {}, make("span", { class: "chip" }, words(category))),
      make("th", { scope: "row" }, event.type),
      make("td", {}, `${event.topic}-${event.partition}`, make("small", {}, ` ${event.offset}`)),
      make("td", {}, bytes(event.bytes)),
      make("td", {}, seconds(event.latency_ms / 1000)),
      make("td", { class: "mono" }, event.user || "all"),
    );
    row.hidden = this.#hidden.has(category);
    return row;
  }

  #learn(category) {
    if (this.#known.has(category)) return;
    this.#known.add(category);
    const button = make("button", { type: "button", "aria-pressed": "true", "data-category": category }, words(category));
    button.onclick = () => {
      const shown = this.#hidden.has(category);
      if (shown) this.#hidden.delete(category);
      else this.#hidden.add(category);
      button.setAttribute("aria-pressed", shown);
      for (const row of byId("sample").tBodies[0].rows) row.hidden = this.#hidden.has(row.dataset.category);
    };
    byId("categories").append(button);
  }
}

// Returns the response of the listener; throws an `Error` with its text if the request is rejected.
async function ask(path, parameters = {}, method = "GET") {
  const query = new URLSearchParams(parameters);
  const answer = await fetch(query.size ? `${path}?${query}` : path, { method });
  const facts = await answer.json();
  if (!answer.ok) throw new Error(facts.detail ?? answer.statusText);
  return facts;
}

export class People {
  #others = [];

  constructor() {
    this.#handle("user", () => this.#show(byId("user").value));
    this.#handle("id", () => this.#explain(byId("id").value.trim()));
    const named = new URLSearchParams(location.hash.slice(1)).get("user");
    if (named) byId("user").value = named;
  }

  know({ workers, worker: own }) {
    this.#others = workers.filter((worker) => worker.worker !== own && worker.state !== "gone");
  }

  #handle(kind, action) {
    byId(`${kind}-form`).onsubmit = async (event) => {
      event.preventDefault();
      try {
        await action();
      } catch (error) {
        byId(`${kind}-answer`).replaceChildren(make("p", { class: "problem" }, error.message));
      }
    };
  }

  async #show(user) {
    const { partition, streams } = await ask("ops/streams", { user });
    const answer = byId("user-answer");
    const open = streams.length === 1 ? "1 stream is open" : `${streams.length} streams are open`;
    const where = partition === null ? "" : `Partition ${partition}. `;
    answer.replaceChildren(make("p", {}, make("b", {}, `${where}${open} at this operations port.`)));
    if (this.#others.length) answer.append(this.#elsewhere(user));
    const list = byId("user-streams");
    list.hidden = !streams.length;
    list.replaceChildren(...(streams.length ? [this.#table(user, streams)] : []));
    if (streams.length > 1) {
      const all = ending("End all", async () => {
        await ask("ops/streams", { user }, "DELETE");
        await this.#refresh(user);
      });
      answer.append(all);
    }
  }

  // The button that was pressed is gone with its row, so the focus needs another place.
  async #refresh(user) {
    await this.#show(user);
    byId(byId("user-streams").hidden ? "user" : "user-streams").focus();
  }

  #elsewhere(user) {
    const links = this.#others.flatMap((worker) => {
      const url = httpUrl(worker.ops_url);
      return [", ", url ? make("a", { href: `${url}/ops#${new URLSearchParams({ user })}` }, worker.worker) : worker.worker];
    });
    return make("p", { class: "hint" }, "Other workers know their own: ", ...links.slice(1), ".");
  }

  #table(user, streams) {
    const heads = ["Stream", "State", "Since", "Address", "Cursor", "Lag", "Events", "Bytes", make("span", { class: "hidden" }, "End")];
    return make(
      "table",
      { class: "streams" },
      make("caption", { class: "hidden" }, `Streams of ${user} at this operations port`),
      make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))),
      make("tbody", {}, ...streams.map((stream) => this.#row(user, stream))),
    );
  }

  #row(user, stream) {
    const cursor = stream.cursor.map(position);
    const stuck = stream.stuck_seconds === null ? "" : ` ${seconds(stream.stuck_seconds)}`;
    return make(
      "tr",
      {},
      make("th", { scope: "row" }, stream.stream),
      make("td", {}, make("span", { class: "state", "data-state": stream.state }, make("span", { class: "dot" }), stream.state + stuck)),
      make("td", { title: stream.since }, since(stream.since)),
      make("td", { class: "mono" }, stream.address || NONE),
      make("td", {}, cursor.join("; ")),
      make("td", {}, stream.lag === null ? NONE : count(stream.lag)),
      make("td", {}, count(stream.events)),
      make("td", {}, stream.bytes === null ? NONE : bytes(stream.bytes)),
      make("td", {}, ending("End", async () => {
        await ask(`ops/streams/${encodeURIComponent(stream.stream)}`, {}, "DELETE");
        await this.#refresh(user);
      }, stream.stream)),
    );
  }

  async #explain(id) {
    const { marks } = await ask("ops/id", { id });
    const list = marks.map((mark) =>
      make(
        "li",
        {},
        make("b", {}, `${mark.log} log, partition ${mark.partition}`),
        mark.offset === null ? `: the first record from ${mark.time} on` : `: next offset ${mark.offset}, of ${mark.time}`,
        make("br"),
        make("span", { class: "hint" }, `${mark.verdict} · topic tag ${mark.tag}`),
      ),
    );
    byId("id-answer").replaceChildren(make("ul", { class: "marks" }, ...list));
  }
}

// Returns the position of a stream in one partition, in words.
function position({ log, partition, offset, time: at }) {
  const where = `${log} partition ${partition}`;
  return offset === null ? `${where}: first record from ${at} on` : `${where}: next offset ${offset}`;
}

// Any program may write a status to the topic: an address is a link only if it is a web address.
function httpUrl(text) {
  try {
    const url = new URL(text);
    return ["http:", "https:"].includes(url.protocol) ? url.origin : null;
  } catch {
    return null;
  }
}

// Returns a button that asks once more before it acts.
function ending(text, action, subject = "") {
  const button = make("button", { type: "button", class: "end", "aria-label": subject ? `${text} ${subject}` : null }, text);
  let sure = false;
  button.onclick = async () => {
    if (!sure) {
      sure = true;
      setText(button, "Sure?");
      setText(byId("user-sure"), `${text} ${subject}: press once more within ${SURE_MS / 1000} seconds.`);
      setTimeout(() => {
        sure = false;
        setText(button, text);
        setText(byId("user-sure"), "");
      }, SURE_MS);
      return;
    }
    button.disabled = true;
    try {
      await action();
    } catch (error) {
      byId("user-answer").append(make("p", { class: "problem" }, error.message));
    }
  };
  return button;
}
