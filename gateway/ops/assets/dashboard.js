// The dashboard: one stream of the fleet's documents, and its consumers. All paths are relative to the
// page, which a proxy may serve below a prefix.

import { Charts } from "./charts.js";
import { isThere, showConcerns, showReasons, showSummary, showWorkers } from "./fleet.js";
import { HeatMap } from "./heat.js";
import { People, Sample } from "./people.js";
import { setText } from "./text.js";

const RETRY_MS = 3000;
const QUIET_MS = 9000; // three documents are missing

const byId = (id) => document.getElementById(id);
const charts = new Charts(byId("charts"));
const heatMap = new HeatMap(byId("heat"), byId("heat-text"), byId("heat-all"));
const sample = new Sample();
const people = new People();

let fleet = null;
let heard = 0;

function connect() {
  const source = new EventSource("ops/events");
  source.addEventListener("history", (event) => charts.begin(JSON.parse(event.data)));
  source.addEventListener("sample", (event) => sample.add(JSON.parse(event.data)));
  source.addEventListener("fleet", (event) => {
    heard = Date.now();
    fleet = JSON.parse(event.data);
    link("live", "Live");
    setText(byId("fleet-name"), fleet.fleet_name);
    byId("main").hidden = false;
    byId("sign-in").hidden = true;
    byId("sign-out").hidden = !sessionStorage.getItem("signed-in");
    charts.add(fleet.sample);
    people.know(fleet);
    for (const show of [showSummary, showConcerns, showWorkers, showReasons]) show(fleet);
    heat();
  });
  source.addEventListener("stream.close", () => link("ended", "This worker has ended"));
  source.onerror = async () => {
    if (byId("link").dataset.state === "live") link("connecting", "Reconnecting …");
    if (source.readyState !== EventSource.CLOSED) return;
    // It was refused, and an EventSource does not say how.
    const answer = await fetch("ops/fleet").catch(() => null);
    if (answer?.status === 401) signIn();
    else setTimeout(connect, RETRY_MS);
  };
}

function link(state, text) {
  byId("link").dataset.state = state;
  setText(byId("link-text"), text);
}

function heat() {
  if (!fleet) return;
  heatMap.draw(fleet.workers.filter(isThere), byId("heat-by").querySelector(":checked").value);
}

function signIn() {
  link("idle", "Not signed in");
  setText(byId("summary"), "Not signed in.");
  byId("main").hidden = byId("sign-out").hidden = true;
  byId("sign-in").hidden = false;
  byId("token").focus();
}

byId("sign-in").onsubmit = async (event) => {
  event.preventDefault();
  const field = byId("token");
  const answer = await fetch("ops/session", { method: "POST", body: JSON.stringify({ token: field.value }) }).catch(() => null);
  field.value = "";
  setText(byId("sign-in-problem"), answer?.ok ? "" : (await answer?.json())?.detail ?? "This worker does not answer.");
  if (!answer?.ok) return field.focus();
  sessionStorage.setItem("signed-in", "yes"); // the cookie itself no script can see
  connect();
};

byId("sign-out").onclick = async () => {
  await fetch("ops/session", { method: "DELETE" });
  sessionStorage.clear();
  location.reload();
};

byId("heat-by").onchange = byId("heat-all").ontoggle = heat;

setInterval(() => {
  if (heard && Date.now() - heard > QUIET_MS && byId("link").dataset.state === "live") {
    link("connecting", `Nothing heard since ${new Date(heard).toLocaleTimeString("en-GB")}`);
  }
}, 1000);

connect();
