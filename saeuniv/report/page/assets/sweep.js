// The page of a sweep: comparisons in groups, one metric at a time, on one scale.
let S = null;
let sorted = { key: "mean", down: true };

const chosen = () => S.comparisons.filter((each) => each.job !== "control" || $("controls").checked);

function drawSweep() {
  const metric = $("metric").value, all = chosen().filter((each) => each.metrics?.[metric]?.value);
  const [low, high] = range(all.map((each) => each.metrics[metric].value), "cividis");
  $("scale").textContent = all.length ? `One scale for all: dark ${number(low)}, bright ${number(high)}. Rows are layers of A, columns layers of B, layer 0 at the top left.` : "No comparison has values of this metric.";
  const groups = new Map();
  for (const each of all) groups.set(each[$("group").value], [...(groups.get(each[$("group").value]) ?? []), each]);
  $("facets").replaceChildren(...[...groups].flatMap(([name, members]) => [html("h3", {}, `${$("group").value}: ${name}`), html("div", { class: "facets" }, ...members.map((each) => facet(each, metric, low, high)))]));
  drawTable(metric);
}

function facet(each, metric, low, high) {
  const values = each.metrics[metric].value;
  const map = { rows: each.layers_a, columns: each.layers_b, palette: "cividis", low, high, at: (i, j) => values[i][j] };
  const about = ["models", "width", "alignment"].filter((name) => name !== $("group").value).map((name) => `${name}: ${each[name]}`);
  return html("div", { class: "facet" }, thumbnail(map), html("div", {}, linked(each)), ...[...about, `mean ${number(each.metrics[metric].mean, 3)}`].map((line) => html("div", { class: "muted" }, line)));
}

const linked = (each) => (each.link ? html("a", { href: each.link }, each.name) : html("span", {}, each.name));

function drawTable(metric) {
  const resort = (sort) => {
    sorted = sort;
    drawTable(metric);
    $("table").querySelector(`[data-key="${sort.key}"]`).focus();
  };
  const words = [["name", "comparison"], ["state", "state"], ["models", "models"], ["width", "width"], ["alignment", "alignment"]];
  const numbers = [["n_tokens", "tokens"], ["mean", "mean"], ["max", "largest"], ["control_mean", "untrained mean"], ["rejected_bh", "q ≤ .05"], ["layer_pairs", "layer pairs"]];
  const of = (each, key) => each[key] ?? each.metrics?.[metric]?.[key];
  const head = html("tr", {}, ...words.map(([key, name]) => sorter(name, key, sorted, resort, false)), ...numbers.map(([key, name]) => sorter(name, key, sorted, resort)));
  const rows = ordered(chosen(), (each) => of(each, sorted.key), sorted.down).map((each) => {
    const shown = numbers.map(([key]) => {
      const value = of(each, key);
      return html("td", { class: "number" }, value == null ? "–" : Number.isInteger(value) && !["mean", "max", "control_mean"].includes(key) ? value : number(value, 3));
    });
    return html("tr", {}, html("th", { scope: "row" }, linked(each)), ...words.slice(1).map(([key]) => html("td", {}, each[key] ?? "–")), ...shown);
  });
  $("table").replaceChildren(html("thead", {}, head), html("tbody", {}, ...rows));
}

function run(data) {
  S = data;
  const labels = (name) => S.comparisons.find((each) => each.metrics?.[name])?.metrics[name].label ?? name;
  choose($("metric"), S.metrics.map((name) => [name, labels(name)]), S.primary);
  for (const id of ["metric", "group", "controls"]) $(id).addEventListener("change", drawSweep);
  theme(drawSweep);
  drawSweep();
}

start(run);
