// What the page of a comparison shows now, and the maps of it.
const VIEWS = [
  ["value", "value", "cividis"],
  ["excess", "value minus null mean", "diverging"],
  ["calibrated", "calibrated by the null", "cividis"],
  ["diff_control", "value minus untrained control", "diverging"],
  ["q_value", "significance (q)", "classes"],
];
const state = { metric: 0, view: "value", at: [0, 0], open: null, sort: { key: "held", down: true }, search: "", follow: null, shown: 0 };
let D = null;
let PAIRS = new Map();

function load(data) {
  D = data;
  state.metric = Math.max(0, D.metrics.findIndex((metric) => metric.name === D.primary));
  for (const pair of D.matches.pairs) {
    const matches = pair.matches.map(([a, b, r, held, rate_a, rate_b, texts]) => ({ a, b, r, held, rate_a, rate_b, texts: texts.map(text) }));
    PAIRS.set(pair.at.join("\u0000"), { ...pair, matches });
  }
}

function text([document, peak, tokens, shades_a, most_a, shades_b, most_b, of]) {
  const shades = (digits) => [...digits].map(Number);
  return { document: D.matches.documents[document], peak, tokens: tokens.map((n) => D.matches.tokens[n]), a: shades(shades_a), most_a, b: shades(shades_b), most_b, of };
}

const pairAt = (i, j) => PAIRS.get(`${D.layers_a[i]}\u0000${D.layers_b[j]}`);

function mapOf(metric, view, shared) {
  const [, title, palette] = VIEWS.find(([name]) => name === view);
  const matrix = metric.views[view];
  const alike = D.metrics.filter((other) => other === metric || (shared && other.unit === metric.unit));
  const [low, high] = range(alike.map((other) => other.views[view]).filter(Boolean), palette);
  const q = metric.views.q_value;
  const map = { rows: D.layers_a, columns: D.layers_b, palette, low, high, title: `${metric.label}: ${title}` };
  map.at = (i, j) => matrix?.[i][j];
  map.dot = (i, j) => view !== "q_value" && q?.[i][j] != null && q[i][j] <= 0.05;
  map.why = (i, j) => why(metric, view, i, j);
  map.write = (value) => (view === "q_value" && value < 0.005 ? "<.01" : number(value));
  map.say = (i, j) => {
    const value = map.at(i, j);
    const said = value == null ? map.why(i, j) : `${title} ${view === "q_value" ? small(value) : number(value, 3)}`;
    const [place, all] = [`A layer ${D.layers_a[i]}, B layer ${D.layers_b[j]}`, metric.views];
    const more = view === "value" && value != null ? `${nullText(all, i, j)}${ciText(all, i, j)}` : "";
    return `${place}: ${metric.label}, ${said}${more}`;
  };
  return map;
}

const nullText = (views, i, j) => (views.null_mean?.[i][j] == null ? "" : `, null mean ${number(views.null_mean[i][j], 3)}`);
const ciText = (views, i, j) => (views.ci_low?.[i][j] == null ? "" : `, interval ${interval(views.ci_low[i][j], views.ci_high?.[i][j])}`);

function why(metric, view, i, j) {
  const code = metric.reasons[i][j];
  if (code) return `undefined: ${D.reasons[code]}`;
  return { excess: "no null", calibrated: "no null", q_value: "not tested", diff_control: "no untrained control" }[view] ?? "undefined";
}
