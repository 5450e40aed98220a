"use strict";
// Shared by the pages of a comparison and of a sweep. Text reaches the page through textContent only.
const SVG = "http://www.w3.org/2000/svg";
const $ = (id) => document.getElementById(id);

async function unpack() {
  const bytes = Uint8Array.from(atob($("data").textContent.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null).map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

const html = (tag, attributes = {}, ...children) => filled(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) => filled(document.createElementNS(SVG, tag), attributes, children);

// As in tables and figures: no leading zero, and .00 for what rounds to zero, never -.00.
function number(value, decimals = 2) {
  if (value == null) return "–";
  let text = value.toFixed(decimals);
  if (Number(text) === 0) text = text.replace("-", "");
  return text.replace(/^(-?)0\./, "$1.");
}

function small(value) {
  return value == null ? "–" : value !== 0 && Math.abs(value) < 0.001 ? value.toExponential(1) : number(value, 3);
}

const interval = (low, high) => (low == null || high == null ? "–" : `[${number(low, 3)}, ${number(high, 3)}]`);
const colourOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function choose(select, options, chosen) {
  select.replaceChildren(...options.map(([value, label, disabled]) => html("option", { value, disabled }, label)));
  select.value = chosen;
}

function theme(redraw) {
  $("theme").addEventListener("change", () => {
    document.documentElement.dataset.theme = $("theme").value;
    redraw();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
}

function save(blob, name) {
  const link = html("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

// A header cell that sorts; `sorted` is {key, down}.
function sorter(label, key, sorted, resort, numeric = true) {
  const state = sorted.key !== key ? "none" : sorted.down ? "descending" : "ascending";
  const mark = { none: "", descending: " ▼", ascending: " ▲" }[state];
  const button = html("button", { type: "button", "data-key": key }, label + mark);
  button.addEventListener("click", () => resort({ key, down: sorted.key === key ? !sorted.down : numeric }));
  return html("th", { scope: "col", "aria-sort": state, class: numeric ? "number" : null }, button);
}

function ordered(items, of, down) {
  const rank = (x, y) => (x == null) - (y == null) || (x < y ? -1 : x > y ? 1 : 0) * (down && x != null && y != null ? -1 : 1);
  return items.slice().sort((x, y) => rank(of(x), of(y)));
}

async function start(run) {
  try {
    run(await unpack());
    document.body.dataset.ready = "1";
  } catch (error) {
    document.querySelector("main").prepend(html("p", { role: "alert" }, `This browser could not open the page: ${error.message}. It needs one of 2023 or later.`));
    throw error;
  }
}
