// The map of partitions: one cell for each, at a fixed position; cells of partitions that are not read
// are empty. To the keyboard and to a screen reader the map is a slider through the cells, whose value
// is the load of the cell.

import { count, make, rate, renew, setText } from "./text.js";

const MANY = 96; // partitions that still get a cell with room for a number
const MOST = 2048; // cells; with more partitions, only partitions that are read get a cell

const METRICS = {
  records_per_second: { one: "record a second", many: "records a second", show: rate },
  streams: { one: "stream", many: "streams", show: count },
  lag: { one: "record not read yet", many: "records not read yet", show: count },
};

const label = (load) => (load.log === "broadcast" ? `b${load.partition}` : `${load.partition}`);

const nameOf = (load) => `${load.log === "broadcast" ? "broadcast log" : "partition"} ${load.partition}`;

const facts = (load) =>
  `${nameOf(load).replace(/^./, (first) => first.toUpperCase())}: ` +
  (load.unread
    ? "no data: it has no streams or is idle"
    : `${rate(load.records_per_second)} records/s, ${count(load.streams)} ${load.streams === 1 ? "stream" : "streams"}, lag ${count(load.lag)}`);

export class HeatMap {
  #map;
  #text;
  #all;
  #loads = [];
  #sentence = "";
  #chosen = null;

  // `all` holds the table, which is filled only while it is open: it has a row for each cell.
  constructor(map, text, all) {
    this.#map = map;
    this.#text = text;
    this.#all = all;
    map.ariaValueMin = 0;
    map.onpointermove = map.onpointerdown = (event) => {
      if (event.target !== map) this.#choose([...map.children].indexOf(event.target));
    };
    map.onpointerleave = (event) => event.pointerType === "mouse" && this.#choose(null); // a finger lifts at once
    map.onblur = () => this.#choose(null);
    map.onkeydown = (event) => {
      const row = getComputedStyle(map).gridTemplateColumns.split(" ").length;
      const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -row, ArrowDown: row, Home: -Infinity, End: Infinity, Escape: null };
      const step = steps[event.key];
      if (step === undefined || !this.#loads.length) return;
      event.preventDefault();
      const last = this.#loads.length - 1;
      const first = this.#chosen === null && Number.isFinite(step); // the first key only enters
      this.#choose(step === null ? null : first ? 0 : Math.min(last, Math.max(0, (this.#chosen ?? 0) + step)));
    };
  }

  draw(workers, by) {
    const { one, many: plural, show } = METRICS[by];
    const read = partitionsOf(workers);
    const loads = filled(read);
    const chosen = this.#loads[this.#chosen];
    const top = Math.max(0, ...loads.map((load) => load[by]));
    const many = loads.length > MANY;
    const map = this.#map;
    map.classList.toggle("many", many);
    while (map.childElementCount > loads.length) map.lastElementChild.remove();
    while (map.childElementCount < loads.length) map.append(make("span"));
    for (const [number, load] of loads.entries()) {
      const cell = map.children[number];
      setText(cell, many ? "" : label(load));
      cell.dataset.label = label(load);
      cell.classList.toggle("unread", load.unread);
      cell.dataset.heat = Math.ceil(5 * Math.sqrt(top ? load[by] / top : 0));
      cell.classList.toggle("broadcast", load.log === "broadcast");
    }
    const ranked = read.toSorted((a, b) => b[by] - a[by]);
    // A worker that reads very many partitions reports the busiest only.
    const left = Math.max(0, ...workers.map((worker) => worker.partitions_read - worker.partitions.length));
    const shown = `${read.length} ${read.length === 1 ? "partition is" : "partitions are"} `;
    const said = shown + (left ? `shown; up to ${left} quiet ones are not.` : "read.");
    this.#sentence = !read.length
      ? "No partition has streams, so none is read."
      : said + (top ? ` Highest: ${nameOf(ranked[0])}, ${show(top)} ${top === 1 ? one : plural}.` : ` None has ${plural} now.`);
    this.#loads = loads;
    const same = chosen && loads.findIndex((load) => load.log === chosen.log && load.partition === chosen.partition);
    this.#chosen = same >= 0 ? same : null;
    this.#describe(document.activeElement !== map);
    if (this.#all.open) renew(this.#all.querySelector("tbody"), ranked.map(row));
  }

  #choose(number) {
    this.#chosen = number;
    this.#describe();
  }

  #describe(aloud = true) {
    const load = this.#loads[this.#chosen];
    const text = load ? facts(load) : this.#sentence;
    setText(this.#text, text);
    this.#map.querySelector(".chosen")?.classList.remove("chosen");
    if (load) this.#map.children[this.#chosen].classList.add("chosen");
    if (!aloud) return;
    this.#map.ariaValueMax = Math.max(0, this.#loads.length - 1);
    this.#map.ariaValueNow = this.#chosen ?? 0;
    this.#map.ariaValueText = text;
  }
}

const row = (load) =>
  make(
    "tr",
    {},
    make("th", { scope: "row" }, label(load)),
    ...[rate(load.records_per_second), count(load.streams), count(load.lag)].map((value) => make("td", {}, value)),
  );

// Every worker that reads a partition reads all of it: records and lag are the maximum of the workers'
// values, and streams are the sum.
function partitionsOf(workers) {
  const found = new Map();
  for (const load of workers.flatMap((worker) => worker.partitions)) {
    const key = `${load.log} ${load.partition}`;
    const known = found.get(key) ?? unread(load.log, load.partition);
    known.unread = false;
    known.records_per_second = Math.max(known.records_per_second, load.records_per_second);
    known.lag = Math.max(known.lag, load.lag);
    known.streams += load.streams;
    found.set(key, known);
  }
  return [...found.values()].sort((a, b) => b.log.localeCompare(a.log) || a.partition - b.partition);
}

const unread = (log, partition) => ({ log, partition, records_per_second: 0, streams: 0, lag: 0, unread: true });

function filled(loads) {
  const users = new Map(loads.filter((load) => load.log === "user").map((load) => [load.partition, load]));
  const size = Math.max(0, ...users.keys()) + 1;
  if (!users.size || size > MOST) return loads;
  const cells = Array.from({ length: size }, (_, partition) => users.get(partition) ?? unread("user", partition));
  return [...cells, ...loads.filter((load) => load.log !== "user")];
}
