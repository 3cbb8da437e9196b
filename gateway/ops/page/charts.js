// Lines over the last 15 minutes, and the map of partitions. Plain SVG; a reader of the screen gets a
// sentence instead. Left and right move through a chart that has the focus, as a pointer does.

import { bytes, count, make, NONE, percent, rate, seconds, setText, time } from "./text.js";

const WINDOW_MS = 900_000;
const MINUTES = [1, 2, 5, 10, 15]; // a young worker has no 15 to show
const WIDTH = 300;
const HEIGHT = 64;
const BREAK_MS = 15_000; // a line does not cross a longer silence
const MANY = 96; // partitions that still get a cell with room for a number

const CHARTS = [
  { name: "Streams", lines: ["streams"], show: count, detail: (s) => `on ${s.workers} ${s.workers === 1 ? "worker" : "workers"}` },
  { name: "Events a second", lines: ["events_per_second"], show: rate, detail: (s) => `${rate(s.records_per_second)} records read` },
  {
    name: "Delivery, p99",
    lines: ["p99", "p90", "p50"],
    show: seconds,
    detail: (s) => (s.p50 === null ? "nothing was delivered just now" : `p50 ${seconds(s.p50)} · p90 ${seconds(s.p90)}`),
  },
  { name: "Lag", lines: ["lag"], show: count, detail: () => "records not read yet" },
  {
    name: "Replays",
    lines: ["replays_waiting", "replays_running"],
    show: count,
    detail: (s) => `streams wait · ${s.replays_running} running`,
  },
  { name: "Gaps and rejects", lines: ["gaps", "rejects"], show: count, total: true, detail: (_, all) => `gaps · ${count(all("rejects"))} rejects in 15 min` },
  { name: "Memory", lines: ["resident_bytes", "tail_bytes"], show: bytes, detail: (s) => `${bytes(s.tail_bytes)} in tails` },
  { name: "CPU", lines: ["cpu_share"], show: percent, detail: () => "of one core, in sum" },
];

export class Charts {
  #charts;
  #samples = [];

  constructor(container) {
    this.#charts = CHARTS.map((chart) => new Chart(container, chart));
  }

  begin(samples) {
    this.#samples = samples;
  }

  add(sample) {
    if (sample.at > (this.#samples.at(-1)?.at ?? 0)) this.#samples.push(sample);
    const oldest = sample.at - WINDOW_MS;
    while (this.#samples[0].at < oldest) this.#samples.shift();
    for (const chart of this.#charts) chart.draw(this.#samples);
  }
}

class Chart {
  #chart;
  #figure;
  #samples = [];
  #window = WINDOW_MS;
  #chosen = null;

  constructor(container, chart) {
    this.#chart = chart;
    this.#figure = document.getElementById("chart-template").content.firstElementChild.cloneNode(true);
    this.#figure.dataset.chart = chart.lines[0];
    this.#find(".name").textContent = chart.name;
    const plot = this.#find(".plot");
    plot.onpointermove = (event) => this.#choose(this.#nearest(event.offsetX / plot.clientWidth));
    plot.onpointerleave = plot.onblur = () => this.#choose(null);
    plot.onkeydown = (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20, Escape: null }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      const last = this.#samples.length - 1;
      this.#choose(step === null ? null : Math.min(last, Math.max(0, (this.#chosen ?? last) + step)));
    };
    container.append(this.#figure);
  }

  draw(samples) {
    const { lines } = this.#chart;
    if (this.#chosen !== null && samples !== this.#samples) this.#chosen = null;
    this.#samples = samples;
    const minutes = MINUTES.find((each) => each * 60_000 >= samples.at(-1).at - samples[0].at) ?? 15;
    this.#window = minutes * 60_000;
    setText(this.#find(".from"), `${minutes} min ago`);
    const values = samples.flatMap((sample) => lines.map((name) => sample[name] ?? 0));
    const top = nice(Math.max(...values));
    const svg = this.#find("svg");
    const paths = lines.map((name, number) => {
      const line = path(samples, name, top, this.#window);
      const element = document.createElementNS("http://www.w3.org/2000/svg", "path");
      element.setAttribute("class", `line line-${number}`);
      element.setAttribute("d", line);
      if (number || !line) return [element];
      const area = element.cloneNode();
      area.setAttribute("class", "area");
      area.setAttribute("d", closed(samples, name, top, this.#window));
      return [area, element];
    });
    svg.replaceChildren(...paths.reverse().flat());
    setText(this.#find(".top-label"), Math.max(...values) > 0 ? this.#chart.show(top) : "");
    this.#tell();
  }

  #find(selector) {
    return this.#figure.querySelector(selector);
  }

  #nearest(share) {
    const wanted = this.#samples.at(-1)?.at - this.#window * (1 - share);
    let best = this.#samples.length - 1;
    for (const [number, sample] of this.#samples.entries()) {
      if (Math.abs(sample.at - wanted) < Math.abs(this.#samples[best].at - wanted)) best = number;
    }
    return best < 0 ? null : best;
  }

  #choose(number) {
    this.#chosen = this.#samples.length ? number : null;
    this.#tell();
  }

  #tell() {
    const { name, lines, show, detail, total } = this.#chart;
    const sample = this.#samples[this.#chosen ?? this.#samples.length - 1];
    if (!sample) return;
    const all = (field) => this.#samples.reduce((sum, each) => sum + each[field], 0);
    const chosen = this.#chosen !== null;
    const value = total && !chosen ? show(all(lines[0])) : sample[lines[0]] === null ? NONE : show(sample[lines[0]]);
    setText(this.#find(".value"), value);
    setText(this.#find(".detail"), detail(sample, chosen ? (field) => sample[field] : all));
    setText(this.#find(".at"), chosen ? time(sample.at) : "");
    const cross = this.#find(".cross");
    cross.hidden = !chosen;
    cross.style.left = `${100 * (1 - (this.#samples.at(-1).at - sample.at) / this.#window)}%`;
    const known = this.#samples.map((each) => each[lines[0]]).filter((each) => each !== null);
    const range = known.length ? `from ${show(Math.min(...known))} to ${show(Math.max(...known))}` : "nothing yet";
    const at = chosen ? `at ${time(sample.at)}` : "now";
    this.#find(".plot").setAttribute("aria-label", `${name}, last ${this.#window / 60_000} minutes: ${range}; ${at} ${value}, ${detail(sample, all)}`);
  }
}

// Returns a number that is no less, and round.
function nice(value) {
  if (!(value > 0)) return 1;
  const unit = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].find((step) => step * unit >= value) * unit;
}

function points(samples, name, top, window) {
  const end = samples.at(-1).at;
  return samples.map((sample) => ({
    at: sample.at,
    x: WIDTH * (1 - (end - sample.at) / window),
    y: sample[name] === null ? null : HEIGHT - 2 - ((HEIGHT - 6) * sample[name]) / top,
  }));
}

function runs(samples, name, top, window) {
  const found = [];
  let before = null;
  for (const point of points(samples, name, top, window)) {
    if (point.y === null) continue; // nothing was delivered: the line goes on to the next that was
    if (!before || point.at - before.at > BREAK_MS) found.push([]);
    found.at(-1).push(point);
    before = point;
  }
  return found;
}

const trace = (run) => run.map(({ x, y }) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L");

const path = (samples, name, top, window) =>
  runs(samples, name, top, window).map((run) => `M${trace(run)}${run.length === 1 ? "h.1" : ""}`).join("");

const closed = (samples, name, top, window) =>
  runs(samples, name, top, window)
    .map((run) => `M${run[0].x.toFixed(1)} ${HEIGHT}L${trace(run)}V${HEIGHT}Z`)
    .join("");

const METRICS = {
  records_per_second: { name: "records a second", show: rate },
  streams: { name: "streams", show: count },
  lag: { name: "records of lag", show: count },
};

// Every worker that reads a partition reads all of it, so records and lag are the highest of what they
// say, and streams are the sum.
export function partitionsOf(workers) {
  const found = new Map();
  for (const load of workers.flatMap((worker) => worker.partitions)) {
    const key = `${load.log} ${load.partition}`;
    const known = found.get(key) ?? { log: load.log, partition: load.partition, records_per_second: 0, streams: 0, lag: 0 };
    known.records_per_second = Math.max(known.records_per_second, load.records_per_second);
    known.lag = Math.max(known.lag, load.lag);
    known.streams += load.streams;
    found.set(key, known);
  }
  return [...found.values()].sort((a, b) => b.log.localeCompare(a.log) || a.partition - b.partition);
}

const label = (load) => (load.log === "broadcast" ? `b${load.partition}` : `${load.partition}`);

export function drawHeat(map, text, table, loads, by) {
  const { name, show } = METRICS[by];
  const top = Math.max(0, ...loads.map((load) => load[by]));
  map.classList.toggle("many", loads.length > MANY);
  while (map.childElementCount > loads.length) map.lastElementChild.remove();
  while (map.childElementCount < loads.length) map.append(make("span"));
  for (const [number, load] of loads.entries()) {
    const cell = map.children[number];
    setText(cell, loads.length > MANY ? "" : label(load));
    const share = top ? load[by] / top : 0;
    cell.dataset.heat = Math.ceil(5 * Math.sqrt(share));
    cell.classList.toggle("broadcast", load.log === "broadcast");
    cell.title =
      `${load.log === "broadcast" ? "broadcast log" : "partition"} ${load.partition}: ${rate(load.records_per_second)} records/s, ` +
      `${count(load.streams)} streams, lag ${count(load.lag)}`;
  }
  const ranked = loads.toSorted((a, b) => b[by] - a[by]);
  const sentence = !loads.length
    ? "No partition has streams, so none is read."
    : `${loads.length} logs are read` + (top ? `; the most has ${label(ranked[0])}, with ${show(top)} ${name}.` : `; none has ${name} now.`);
  setText(text, sentence);
  map.setAttribute("aria-label", `Map of partitions. ${sentence}`);
  table.replaceChildren(
    ...ranked.slice(0, 10).map((load) =>
      make("tr", {}, make("th", { scope: "row" }, label(load)), ...[rate(load.records_per_second), count(load.streams), count(load.lag)].map((value) => make("td", {}, value))),
    ),
  );
}
