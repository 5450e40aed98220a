// One layer pair: all its numbers, its dictionaries, and how its matches differ from the null.
function openPair(i, j) {
  state.open = [i, j];
  state.follow = null;
  state.search = "";
  drawPair();
  // The map has lost half of its width.
  drawMap();
  $("pair").focus({ preventScroll: true });
  $("pair").scrollIntoView({ block: "nearest" });
}

function closePair() {
  state.open = null;
  $("pair-title").textContent = "";
  $("pair-body").replaceChildren();
  $("pair").hidden = true;
  drawMap();
  $("map").firstElementChild.focus();
}

function drawPair() {
  const [i, j] = state.open;
  $("pair-title").textContent = `Layer ${D.layers_a[i]} of A and layer ${D.layers_b[j]} of B`;
  $("pair").hidden = false;
  $("pair-body").replaceChildren(numbersTable(i, j), qualityTable(i, j), histogramOf(pairAt(i, j)), matchesOf(i, j));
}

function table(name, headers, rows) {
  const head = html("tr", {}, ...headers.map((header, at) => html("th", { scope: "col", class: at ? "number" : null }, header)));
  const body = rows.map(([first, ...rest]) => html("tr", {}, html("th", { scope: "row" }, first), ...rest.map((cell) => html("td", { class: "number" }, cell))));
  return html("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": name }, html("table", {}, html("thead", {}, head), html("tbody", {}, ...body)));
}

function numbersTable(i, j) {
  const rows = D.metrics.map((metric) => {
    const of = (name) => metric.views[name]?.[i][j];
    const value = of("value") == null ? why(metric, "value", i, j) : number(of("value"), 3);
    const nullMean = of("null_mean") == null ? "–" : `${number(of("null_mean"), 3)} ± ${number(of("null_std"), 3)}`;
    const difference = of("diff_control") == null ? "–" : `${number(of("diff_control"), 3)} ${of("diff_ci_low") == null ? "" : interval(of("diff_ci_low"), of("diff_ci_high"))}`;
    const directed = ["a_to_b", "b_to_a"].map((name) => number(of(name), 3));
    return [metric.label, value, interval(of("ci_low"), of("ci_high")), nullMean, small(of("p_value")), small(of("q_value")), number(of("control"), 3), difference, ...directed, metric.empty[`${i},${j}`] ?? ""];
  });
  const headers = ["metric", "value", "interval", "null mean ± sd", "p", "q", "untrained", "minus untrained", "A to B", "B to A", "remarks"];
  return html("div", {}, html("h3", {}, "Numbers"), table("Numbers of this layer pair", headers, rows));
}

function qualityTable(i, j) {
  const rows = [["A", D.layers_a[i], D.quality.a[i]], ["B", D.layers_b[j], D.quality.b[j]]].map(([side, layer, known]) => {
    const of = (name) => number(known?.[name], 3);
    const counts = ["n_eligible", "n_alive", "d_sae"].map((name) => known?.[name] ?? "–").join(" / ");
    const l0 = known?.l0 == null ? "–" : number(known.l0, 1);
    return [`${side}, layer ${layer}`, of("fvu"), l0, of("dead_fraction"), of("loss_recovered"), counts, of("eligible_mass"), of("context_share")];
  });
  const headers = ["dictionary", "FVU", "L0", "dead fraction", "loss recovered", "eligible / alive / all", "eligible mass", "context share"];
  return html("div", {}, html("h3", {}, "Dictionaries"), table("Quality of the two dictionaries", headers, rows));
}

function histogramOf(pair) {
  const out = html("div", {}, html("h3", {}, "Correlation of matches against the null"));
  const bins = pair?.histogram;
  if (!bins || (!bins.matched.length && !bins.null.length)) {
    out.append(html("p", { class: "muted" }, "No correlations of single matches are stored for this layer pair."));
    return out;
  }
  // Shares, because there may be many more matches under the null than observed ones.
  const shares = (counts) => counts.map((count) => count / (counts.reduce((x, y) => x + y, 0) || 1));
  const series = [["null", shares(bins.null), colourOf("--null")], ["matched", shares(bins.matched), colourOf("--matched")]];
  const width = 560, height = 150, most = Math.max(...series.flatMap(([, share]) => share)), n = Math.max(bins.matched.length, bins.null.length);
  const step = (width - 40) / n, of = (at) => bins.low + at * bins.width;
  const means = [`${pair.of} matches`, `bins of ${number(bins.width, 3)} from ${number(of(0))} to ${number(of(n))}`];
  const drawn = svg("svg", { viewBox: `0 0 ${width} ${height}`, width: "100%", role: "img", "aria-label": `Histogram of correlations, matched against null: ${means.join(", ")}` });
  for (const [, share, colour] of series) {
    share.forEach((part, at) => part && drawn.append(svg("rect", { x: 20 + at * step, y: 118 - (100 * part) / most, width: step - 1, height: (100 * part) / most, fill: colour, opacity: 0.75 })));
  }
  for (let k = 0; k <= 4; k++) drawn.append(label(20 + (k / 4) * n * step, 134, number(of((k / 4) * n)), { "text-anchor": "middle" }));
  series.forEach(([name, , colour], at) => drawn.append(svg("rect", { x: width - 150 + 66 * at, y: 4, width: 10, height: 10, fill: colour }), label(width - 136 + 66 * at, 13, name)));
  out.append(drawn, html("p", { class: "muted" }, `Share of each in ${means[1]}; ${means[0]}.`));
  return out;
}
