// Lines over the last 15 minutes, as plain SVG. To the keyboard and to a screen reader each chart is a
// slider through its time: left and right move as a pointer does; its value is the text of that point.

import { bytes, count, make, NONE, percent, rate, seconds, setText, time } from "./text.js";

const SVG = "http://www.w3.org/2000/svg";
const WINDOW_MS = 900_000;
const MINUTES = [1, 2, 5, 10, 15]; // after the start of a worker, less than 15 minutes
const WIDTH = 300;
const HEIGHT = 64;
const BREAK_MS = 15_000; // a line does not cross a longer silence

const CHARTS = [
  { name: "Streams", lines: ["streams"], show: count, detail: (s) => `on ${s.workers} ${s.workers === 1 ? "worker" : "workers"}` },
  { name: "Events a second", lines: ["events_per_second"], show: rate, detail: (s) => `${rate(s.records_per_second)} ${s.records_per_second === 1 ? "record" : "records"} read` },
  {
    name: "Delivery, p99",
    lines: ["p99", "p90", "p50"],
    keys: ["p99", "p90", "p50"],
    show: seconds,
    detail: (s) => (s.p50 === null ? "nothing was delivered just now" : `p50 ${seconds(s.p50)} · p90 ${seconds(s.p90)}`),
  },
  { name: "Lag", lines: ["lag"], show: count, detail: () => "records not read yet" },
  {
    name: "Replays",
    lines: ["replays_waiting", "replays_running"],
    keys: ["waiting", "running"],
    show: count,
    detail: (s) => `streams wait · ${s.replays_running} running`,
  },
  { name: "Gaps and rejects", lines: ["gaps", "rejects"], keys: ["gaps", "rejects"], show: count, total: true, detail: (_, all) => `gaps · ${count(all("rejects"))} rejects in 15 min` },
  { name: "Memory", lines: ["resident_bytes", "tail_bytes"], keys: ["process", "tails"], show: bytes, detail: (s) => `${bytes(s.tail_bytes)} in tails` },
  { name: "CPU", lines: ["cpu_share"], show: percent, detail: () => "of one core, in total" },
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
    this.#legend(chart.keys ?? []);
    const plot = this.#find(".plot");
    plot.onpointermove = (event) => this.#choose(this.#nearest(event.offsetX / plot.clientWidth));
    plot.onpointerleave = plot.onblur = () => this.#choose(null);
    plot.setAttribute("aria-label", chart.name);
    plot.onkeydown = (event) => {
      const steps = { ArrowLeft: -1, ArrowRight: 1, PageUp: -20, PageDown: 20, Home: -Infinity, End: Infinity, Escape: null };
      const step = steps[event.key];
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
    const svg = this.#find(".plot svg");
    const paths = lines.map((name, number) => {
      const line = path(samples, name, top, this.#window);
      const element = document.createElementNS(SVG, "path");
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
    // A screen reader reads the value on a key press only, not at every update.
    this.#describe(document.activeElement !== this.#find(".plot"));
  }

  // Says which line is dashed how; a screen reader hears the values instead.
  #legend(keys) {
    const entries = keys.map((key, number) => {
      const line = document.createElementNS(SVG, "svg");
      line.setAttribute("viewBox", "0 0 22 8");
      const stroke = document.createElementNS(SVG, "path");
      stroke.setAttribute("class", `line line-${number}`);
      stroke.setAttribute("d", "M1 4H21");
      line.append(stroke);
      return make("span", {}, line, key);
    });
    this.#find(".keys").hidden = !entries.length;
    this.#find(".keys").replaceChildren(...entries);
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
    this.#describe();
  }

  #describe(aloud = true) {
    const { lines, show, detail, total } = this.#chart;
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
    if (!aloud) return;
    const known = this.#samples.map((each) => each[lines[0]]).filter((each) => each !== null);
    const range = known.length ? `from ${show(Math.min(...known))} to ${show(Math.max(...known))}` : "nothing yet";
    const at = chosen ? `at ${time(sample.at)}` : "now";
    const plot = this.#find(".plot");
    plot.ariaValueMax = this.#samples.length - 1;
    plot.ariaValueNow = this.#chosen ?? this.#samples.length - 1;
    plot.ariaValueText = chosen
      ? `${at} ${value}, ${detail(sample, (field) => sample[field])}`
      : `${at} ${value}, ${detail(sample, all)}; last ${this.#window / 60_000} minutes ${range}`;
  }
}

// Rounds a number up.
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
    if (point.y === null) continue; // nothing was delivered: the line continues at the next delivery
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
