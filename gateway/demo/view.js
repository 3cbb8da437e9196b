// The view of one device: state, counters, and events, newest first.

const ROWS_KEPT = 250;
const BUCKETS = 30; // of 2 s each: the last minute
const BUCKET_MS = 2000;

const STATES = {
  connecting: () => "Connecting …",
  live: () => "Live",
  dropped: (left) => `Dropped, back in ${left} s`,
  away: (left) => `Away, back in ${left} s`,
  reconnecting: () => "Reconnecting …",
  idle: () => "No category selected",
};

const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

export class View {
  #element;
  #events;
  #arrivals = [];
  #categoryOf;
  #answer = null; // the row of the incomplete AI answer

  constructor(title, config) {
    this.#categoryOf = new Map(
      Object.entries(config.categories).flatMap(([name, types]) => types.map((type) => [type, name])),
    );
    this.#element = document.getElementById("device-template").content.firstElementChild.cloneNode(true);
    this.#events = this.find(".events");
    this.find("h2").textContent = title;
    this.find(".retry").textContent = `${config.retry_ms / 1000} s`;
    this.find(".last-id").onclick = (event) => copy(event.target);
    document.getElementById("devices").append(this.#element);
  }

  find(selector) {
    return this.#element.querySelector(selector);
  }

  remove() {
    this.#element.remove();
  }

  clear() {
    this.#events.replaceChildren();
    this.#arrivals = [];
    this.#answer = null;
  }

  state(name, left) {
    const gone = name === "dropped" || name === "away";
    this.#element.dataset.state = name;
    this.find(".state-text").textContent = STATES[name](left);
    // Announced to screen readers once, not at every second of a countdown.
    this.find(".state").setAttribute("aria-live", gone ? "off" : "polite");
    this.find(".return").hidden = !gone;
    this.find(".drop").hidden = this.find(".leave").hidden = gone;
    this.find(".drop").disabled = this.find(".leave").disabled = name !== "live";
  }

  note(kind, text) {
    const row = document.createElement("li");
    row.className = `note ${kind}`;
    row.append(element("time", clock.format(Date.now())), element("span", text));
    this.#prepend(row);
    this.#answer = null;
  }

  event({ type, data, id, origin }) {
    this.#arrivals.push(Date.now());
    if (type === "ai.response.chunk" && this.#continues(data, origin)) {
      this.#extend(data, id);
      return;
    }
    const row = document.getElementById("event-template").content.firstElementChild.cloneNode(true);
    const part = (selector) => row.querySelector(selector);
    const category = this.#categoryOf.get(type);
    const [, audience] = data.lane.split(":").reverse();
    row.dataset.category = category ?? "other";
    row.dataset.origin = origin;
    part("time").textContent = clock.format(data.at);
    part(".chip").textContent = (category ?? "no category").replaceAll("_", " ");
    part(".type").textContent = type;
    if (audience) part(".type").append(element("small", audience === "broadcasts" ? "to all users" : `to ${audience}`));
    part(".payload").append(...summary(data));
    part(".payload").onclick = () => toggle(row);
    part(".number").textContent = `#${data.seq}`;
    showId(part(".id"), id);
    part(".id").onclick = (event) => copy(event.target);
    part(".origin").textContent = origin;
    row.events = [{ id, event: type, data }];
    if (data.note) row.classList.add("mine");
    this.#prepend(row);
    this.#answer = type === "ai.response.chunk" ? { row, response: data.response_id, origin } : null;
  }

  // Updates counters and rates; `behind` is null without a second device.
  refresh(device, behind) {
    for (const count of this.#element.querySelectorAll("[data-count]")) {
      const value = device.continuity[count.dataset.count];
      count.textContent = value.toLocaleString("en");
      count.parentElement.classList.toggle("bad", value > 0);
    }
    const last = this.find(".last-id");
    last.disabled = !device.lastId;
    if (device.lastId) showId(last, device.lastId);
    this.find(".step").textContent =
      behind === null ? "" : behind ? `${behind} behind the other` : "in step with the other";
    this.#drawRate();
  }

  // Consecutive chunks of an AI answer share a row.
  #continues(data, origin) {
    const answer = this.#answer;
    return answer !== null && answer.response === data.response_id && answer.origin === origin;
  }

  #extend(data, id) {
    const { row } = this.#answer;
    row.events.push({ id, event: "ai.response.chunk", data });
    row.querySelector(".payload .text").textContent += ` ${data.text}`;
    row.querySelector(".number").textContent = `#${row.events[0].data.seq}–${data.seq}`;
    showId(row.querySelector(".id"), id);
  }

  #prepend(row) {
    this.#events.prepend(row);
    while (this.#events.childElementCount > ROWS_KEPT) this.#events.lastElementChild.remove();
  }

  #drawRate() {
    const now = Date.now();
    const start = now - BUCKETS * BUCKET_MS;
    this.#arrivals = this.#arrivals.filter((at) => at > start);
    const buckets = new Array(BUCKETS).fill(0);
    for (const at of this.#arrivals) buckets[Math.min(BUCKETS - 1, Math.floor((at - start) / BUCKET_MS))] += 1;
    const top = Math.max(8, ...buckets);
    this.find(".rate path").setAttribute(
      "d",
      buckets.map((n, i) => `M${i * 4 + 2} 28v${-Math.max(1, (n / top) * 27).toFixed(1)}`).join(""),
    );
    this.find(".per-minute").textContent = this.#arrivals.length;
  }
}

function summary({ lane, seq, at, text, ...rest }) {
  const parts = text === undefined ? [] : [element("span", text, "text")];
  for (const [key, value] of Object.entries(rest)) {
    if (key === "response_id" || key === "index") continue; // implied by the row
    const shown = typeof value === "number" ? value.toLocaleString("en") : String(value);
    parts.push(element("span", key.replaceAll("_", " "), "key"), ` ${shown} `);
  }
  return parts;
}

function toggle(row) {
  const button = row.querySelector(".payload");
  const open = button.getAttribute("aria-expanded") === "true";
  button.setAttribute("aria-expanded", String(!open));
  if (open) row.querySelector("pre").remove();
  else row.append(element("pre", row.events.map((event) => JSON.stringify(event, null, 2)).join("\n")));
}

// An id has the position in each partition, the user's first and the broadcasts' last: both ends change.
function showId(button, id) {
  const short = `${id.slice(24, 30)}…${id.slice(-6)}`;
  button.dataset.id = id;
  button.textContent = short;
  button.title = `${id}\nClick to copy`;
  button.setAttribute("aria-label", `Copy the event id ${short}`);
}

async function copy(button) {
  await navigator.clipboard.writeText(button.dataset.id);
  button.classList.add("copied");
  setTimeout(() => button.classList.remove("copied"), 1200);
}

function element(name, text, className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = className;
  return made;
}
