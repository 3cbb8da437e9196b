// Numbers as people read them, and elements from text alone: nothing here is ever markup.

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

export const NONE = "–";

export const count = (value) => (value < 100_000 ? whole.format(value) : compact.format(value));
export const rate = (value) => (value < 100 ? tenths.format(value) : count(value));
export const percent = (share) => `${whole.format(share * 100)} %`;
export const time = (ms) => clock.format(ms);

export function bytes(value) {
  if (value < 1000) return `${whole.format(value)} B`;
  for (const unit of ["kB", "MB", "GB"]) {
    value /= 1000;
    if (value < 1000 || unit === "GB") return `${value < 10 ? tenths.format(value) : whole.format(value)} ${unit}`;
  }
}

export function seconds(value) {
  if (value === null || value === undefined) return NONE;
  if (value < 0.01) return `${tenths.format(value * 1000)} ms`;
  if (value < 1) return `${whole.format(value * 1000)} ms`;
  return `${value < 10 ? tenths.format(value) : whole.format(value)} s`;
}

export function since(text, now = Date.now()) {
  const passed = Math.max(0, (now - Date.parse(text)) / 1000);
  if (Number.isNaN(passed)) return NONE;
  if (passed < 120) return `${whole.format(passed)} s`;
  if (passed < 7200) return `${whole.format(passed / 60)} min`;
  return passed < 172_800 ? `${whole.format(passed / 3600)} h` : `${whole.format(passed / 86_400)} d`;
}

export const words = (name) => name.replaceAll("_", " ");

// Returns an element; children are elements or text.
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

// Replaces those children of an element that differ from the given ones: a selection, and the position of
// a screen reader, survive an update. No child may have a handler.
export function renew(parent, children) {
  for (const [number, child] of children.entries()) {
    const old = parent.children[number];
    if (!old) parent.append(child);
    else if (old.isEqualNode(child)) continue;
    else if (old.tagName === "TR" && old.className === child.className) renew(old, [...child.children]);
    else old.replaceWith(child);
  }
  while (parent.childElementCount > children.length) parent.lastElementChild.remove();
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
