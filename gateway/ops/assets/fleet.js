// What a document of the fleet says: the sentence at the top, concerns, workers, reasons.

import { bytes, count, make, NONE, percent, rate, renew, seconds, setText, since, words } from "./text.js";

const byId = (id) => document.getElementById(id);

const STATES = { starting: "starting", ready: "ready", not_ready: "not ready", draining: "draining", gone: "gone" };

const REASONS = [
  ["gaps", "Gaps sent to clients"],
  ["closes", "Streams closed by the gateway"],
  ["rejects", "Requests that opened no stream"],
  ["unreadable", "Unreadable records"],
];

const OTHERS = [
  ["unknown_types", "events of a type without a category"],
  ["partitioner_mismatches", "keys in another partition than expected"],
];

export const isThere = (worker) => worker.state !== "gone";

export function showSummary({ workers, sample, concerns, fleet_name }) {
  const there = workers.filter(isThere);
  const ready = there.filter((worker) => worker.state === "ready").length;
  const who =
    ready === there.length
      ? ["No worker is running", "The only worker is ready", "Both workers are ready"][ready] ?? `All ${ready} workers are ready`
      : `${ready} of ${there.length} workers ${ready === 1 ? "is" : "are"} ready`;
  const urgent = concerns.filter((concern) => concern.severity !== "notice").length;
  // Screen readers read each change, so numbers that change all the time are left out.
  const state = urgent ? `${urgent} ${urgent === 1 ? "issue needs" : "issues need"} attention` : "nothing needs attention";
  setText(byId("summary"), `${who}; ${state}.`);
  const title = `${urgent ? `(${urgent}) ` : ""}Fleet · ${count(sample.streams)} streams`;
  document.title = fleet_name ? `${fleet_name} · ${title}` : title; // several fleets in several tabs
}

export function showConcerns({ concerns }) {
  const list = byId("concerns");
  const said = JSON.stringify(concerns);
  if (list.dataset.said === said) return; // a selection of text outlives the next document
  list.dataset.said = said;
  list.replaceChildren(
    ...concerns.map((concern) =>
      make(
        "article",
        { class: "concern", "data-severity": concern.severity, "data-kind": concern.kind },
        make("p", { class: "severity" }, concern.severity),
        make("p", { class: "what" }, ...(concern.worker ? [make("b", {}, concern.worker), " "] : []), concern.what),
        make("p", { class: "action" }, concern.action),
      ),
    ),
  );
}

export function showWorkers({ workers, worker: own, sample, problem }) {
  const there = workers.filter(isThere);
  renew(byId("workers").tBodies[0], workers.map((worker) => row(worker, own)));
  const sum = (field) => there.reduce((total, worker) => total + worker[field], 0);
  const total = make(
    "tr",
    {},
    make("th", { scope: "row" }, "Total"),
    ...cells(
      [`${there.length} of ${workers.length}`, "state"],
      [count(sum("streams")), "streams"],
      [rate(sum("events_per_second")), "events_per_second"],
      [rate(sum("records_per_second")), "records_per_second"],
      [seconds(sample.p50)],
      [seconds(sample.p99)],
      [count(sum("lag")), "lag"],
      [`${count(sum("replays_running"))} / ${count(sum("replays_waiting"))}`],
      [bytes(sum("tail_bytes"))],
      [bytes(sum("resident_bytes"))],
      [percent(sum("cpu_share"))],
      [seconds(Math.max(0, ...there.map((worker) => worker.loop_delay_seconds)))],
      [""],
      [""],
    ),
  );
  renew(byId("workers").tFoot, [total]);
  const sent = there.reduce((all, worker) => all + Object.values(worker.events).reduce((a, b) => a + b, 0), 0);
  const hint = byId("workers-hint");
  setText(hint, `${sent.toLocaleString("en")} events sent since their start` + (problem ? "; others are not visible" : ""));
  hint.dataset.sent = sent;
}

function row(worker, own) {
  const gone = !isThere(worker);
  const name = make("th", { scope: "row" }, worker.worker);
  if (worker.worker === own) name.append(" ", make("small", {}, "this one"));
  const state = make("span", { class: "state", "data-state": worker.state }, make("span", { class: "dot" }), STATES[worker.state] ?? worker.state);
  const age = worker.age_seconds > 8 ? make("small", {}, ` last status ${seconds(worker.age_seconds)} ago`) : "";
  const live = (text) => (gone ? NONE : text);
  return make(
    "tr",
    { class: gone ? "gone" : null },
    name,
    make("td", {}, state, age),
    ...cells(
      [live(count(worker.streams) + (worker.streams_stuck ? ` (${count(worker.streams_stuck)} stuck)` : "")), "streams"],
      [live(rate(worker.events_per_second))],
      [live(rate(worker.records_per_second))],
      [live(seconds(worker.delivery.p50))],
      [live(seconds(worker.delivery.p99))],
      [live(count(worker.lag)), "lag"],
      [live(`${count(worker.replays_running)} / ${count(worker.replays_waiting)}`)],
      [live(bytes(worker.tail_bytes))],
      [live(bytes(worker.resident_bytes))],
      [live(percent(worker.cpu_share))],
      [live(seconds(worker.loop_delay_seconds))],
      [worker.version],
      [live(since(worker.since))],
    ),
  );
}

const cells = (...values) => values.map(([text, field]) => make("td", { "data-field": field }, text));

export function showReasons({ workers }) {
  const there = workers.filter(isThere);
  const groups = REASONS.map(([field, title]) => {
    const sums = new Map();
    for (const worker of there) {
      for (const [reason, number] of Object.entries(worker[field])) sums.set(reason, (sums.get(reason) ?? 0) + number);
    }
    const seen = [...sums].filter(([, number]) => number).sort((a, b) => b[1] - a[1]);
    const all = seen.reduce((total, [, number]) => total + number, 0);
    return make(
      "div",
      { "data-reasons": field },
      make("h3", {}, title, make("b", {}, count(all))),
      seen.length
        ? make("dl", {}, ...seen.map(([reason, number]) => bar(words(reason), number, number / all)))
        : make("p", { class: "hint" }, "none"),
    );
  });
  const others = OTHERS.map(([field, title]) => [title, there.reduce((total, worker) => total + worker[field], 0)]).filter(([, number]) => number);
  if (others.length) {
    groups.push(make("div", {}, make("h3", {}, "Also seen"), make("dl", {}, ...others.map(([title, number]) => bar(title, number, 0)))));
  }
  renew(byId("reasons"), groups);
}

function bar(name, number, share) {
  const element = make("div", { class: "bar" }, make("dt", {}, name), make("dd", {}, count(number)));
  element.style.setProperty("--share", `${100 * share}%`);
  return element;
}
