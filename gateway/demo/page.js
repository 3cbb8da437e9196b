// The page: selection of user, categories and devices.

import { Device, get } from "/demo/device.js";
import { View } from "/demo/view.js";

const DROP_SECONDS = 3;
const AWAY_SECONDS = 30;
const REFRESH_MS = 250;

const config = await get("/demo/config");
const devices = [];
const form = document.querySelector(".controls");
const user = () => form.elements.user.value;
const ticked = () => [...form.querySelectorAll("[name=category]:checked")].map((box) => box.value);

function choice(type, name, value, category) {
  const label = document.createElement("label");
  const input = document.createElement("input");
  Object.assign(input, { type, name, value });
  if (category) label.dataset.category = category;
  label.append(input, document.createElement("span"));
  label.lastChild.textContent = value.replaceAll("_", " ");
  return label;
}

function addDevice(title) {
  const view = new View(title, config);
  const device = new Device(config, view);
  view.find(".drop").onclick = () => device.disconnect("dropped", DROP_SECONDS);
  view.find(".leave").onclick = () => device.disconnect("away", AWAY_SECONDS);
  view.find(".return").onclick = () => device.comeBack();
  devices.push({ device, view });
  device.follow(user(), ticked());
}

function toggleSecond({ currentTarget: button }) {
  const second = devices.length > 1;
  if (second) {
    const { device, view } = devices.pop();
    device.close();
    view.remove();
  } else {
    addDevice("Second device");
  }
  button.setAttribute("aria-pressed", String(!second));
}

async function send() {
  const types = (ticked().length ? ticked() : Object.keys(config.categories))
    .flatMap((category) => config.categories[category]);
  const type = types[Math.floor(Math.random() * types.length)];
  await get(`/demo/send?${new URLSearchParams({ user: user(), type })}`, { method: "POST" });
}

function refresh() {
  devices.forEach(({ device, view }, index) => {
    const other = devices[1 - index]?.device;
    view.refresh(device, other ? device.continuity.behind(other.continuity) : null);
  });
}

for (const [index, name] of config.users.entries()) {
  const label = choice("radio", "user", name);
  label.firstChild.checked = index === 0;
  document.getElementById("users").append(label);
}
for (const category of Object.keys(config.categories)) {
  const label = choice("checkbox", "category", category, category);
  label.firstChild.checked = true;
  document.getElementById("categories").append(label);
}
form.onchange = () => devices.forEach(({ device }) => device.follow(user(), ticked()));
form.onsubmit = (event) => event.preventDefault();
document.getElementById("send").onclick = send;
document.getElementById("second").onclick = toggleSecond;
addDevice("This device");
setInterval(refresh, REFRESH_MS);
