// The page of one comparison: its controls, the large heatmap, the small ones, and what can be saved.
function drawAll() {
  const metric = D.metrics[state.metric];
  choose($("view"), VIEWS.map(([name, title]) => [name, title, !metric.views[name]]), metric.views[state.view] ? state.view : (state.view = "value"));
  drawMap();
  drawSmall();
}

function current() {
  return mapOf(D.metrics[state.metric], state.view, $("shared").checked);
}

function drawMap() {
  const focused = $("map").contains(document.activeElement), map = current();
  const drawn = heatmap(map, $("map").clientWidth, $("numbers").checked);
  const keys = `Heatmap, ${map.title}. Rows are layers of A, columns layers of B. Arrow keys move, Enter opens a layer pair.`;
  filled(drawn, { tabindex: 0, role: "application", "aria-roledescription": "heatmap", "aria-label": keys, "aria-describedby": "reading" }, []);
  $("map").replaceChildren(drawn);
  go(...state.at);
  if (focused) drawn.focus();
}

function go(i, j) {
  const within = (at, names) => Math.max(0, Math.min(names.length - 1, at));
  state.at = [within(i, D.layers_a), within(j, D.layers_b)];
  $("map").firstElementChild.mark(...state.at);
  $("reading").textContent = current().say(...state.at);
}

function drawSmall() {
  $("small").replaceChildren(...D.metrics.map((metric, at) => {
    const map = mapOf(metric, state.view, $("shared").checked);
    const bounds = state.view === "q_value" ? "" : ` ${number(map.low)} to ${number(map.high)}`;
    const button = html("button", { type: "button", "aria-pressed": String(at === state.metric), "data-metric": metric.name }, html("span", {}, metric.label), thumbnail(map), html("span", { class: "muted" }, metric.views[state.view] ? bounds : "not in this view"));
    button.addEventListener("click", () => {
      chooseMetric(at);
      $("small").children[at].focus();
    });
    return button;
  }));
}

function chooseMetric(at) {
  state.metric = at;
  $("metric").value = String(at);
  drawAll();
}

function keyed(event) {
  const [i, j] = state.at;
  const moves = { ArrowUp: [i - 1, j], ArrowDown: [i + 1, j], ArrowLeft: [i, j - 1], ArrowRight: [i, j + 1], Home: [i, 0], End: [i, Infinity], PageUp: [0, j], PageDown: [Infinity, j] };
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (moves[event.key]) go(...moves[event.key]);
  else if (event.key === "Enter" || event.key === " ") openPair(...state.at);
  else return;
  event.preventDefault();
}

function saveAs(kind) {
  const metric = D.metrics[state.metric], name = `${metric.name}-${state.view}.${kind}`;
  if (kind === "csv") return save(new Blob([csv(metric)], { type: "text/csv" }), name);
  const copy = $("map").firstElementChild.cloneNode(true);
  copy.querySelector(".ring").remove();
  const picture = new Blob([new XMLSerializer().serializeToString(copy)], { type: "image/svg+xml" });
  if (kind === "svg") return save(picture, name);
  const image = new Image(), url = URL.createObjectURL(picture), sharp = 2;
  image.addEventListener("load", () => {
    const canvas = html("canvas", { width: image.width * sharp, height: image.height * sharp });
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    URL.revokeObjectURL(url);
    canvas.toBlob((blob) => save(blob, name));
  });
  image.src = url;
}

function csv(metric) {
  const map = current();
  const lines = cells(map).map(([i, j]) => [map.rows[i], map.columns[j], metric.name, state.view, map.at(i, j) ?? "", map.at(i, j) == null ? map.why(i, j) : ""]);
  return [["layer_a", "layer_b", "metric", "view", "value", "reason"], ...lines].map((line) => line.join(",")).join("\n") + "\n";
}

function drawPublished({ line, key, parts }) {
  const cellsOf = (tag, texts) => html("tr", {}, ...texts.map((text, at) => html(tag, { class: at ? "number" : null, scope: tag === "th" ? "col" : null }, text)));
  $("published-line").textContent = line;
  $("published-key").textContent = key;
  $("published-parts").replaceChildren(...parts.flatMap((part) => [
    html("h3", {}, part.title),
    html("ul", {}, ...part.notes.map((note) => html("li", {}, note))),
    html("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": part.title }, html("table", {}, html("thead", {}, cellsOf("th", part.header)), html("tbody", {}, ...part.rows.map((row) => cellsOf("td", row))))),
  ]));
  $("published").hidden = false;
}

function run(data) {
  load(data);
  $("meaning").textContent = D.meaning;
  $("facts").replaceChildren(...D.facts.flatMap(([name, fact]) => [html("dt", {}, name), html("dd", {}, fact)]));
  const lacking = D.matches.pairs.length < D.layers_a.length * D.layers_b.length ? [`Matches and texts are in this page for ${D.matches.pairs.length} of ${D.layers_a.length * D.layers_b.length} layer pairs.`] : [];
  $("notes").replaceChildren(...[...D.notes, ...lacking, D.left_out].filter(Boolean).map((note) => html("li", {}, note)));
  if (D.published) drawPublished(D.published);
  choose($("metric"), D.metrics.map((metric, at) => [String(at), metric.label]), String(state.metric));
  $("metric").addEventListener("change", () => chooseMetric(Number($("metric").value)));
  $("view").addEventListener("change", () => {
    state.view = $("view").value;
    drawAll();
  });
  $("shared").addEventListener("change", drawAll);
  $("numbers").addEventListener("change", drawMap);
  $("map").addEventListener("keydown", keyed);
  $("map").addEventListener("click", (event) => {
    const at = event.target.closest("[data-at]")?.dataset.at.split(",").map(Number);
    if (!at) return;
    go(...at);
    openPair(...at);
  });
  $("close").addEventListener("click", closePair);
  addEventListener("keydown", (event) => event.key === "Escape" && state.open && closePair());
  for (const kind of ["png", "svg", "csv"]) $(`save-${kind}`).addEventListener("click", () => saveAs(kind));
  const redraw = () => {
    drawAll();
    if (state.open) drawPair();
  };
  theme(redraw);
  drawAll();
  let width = $("map").clientWidth;
  new ResizeObserver(() => {
    if (width === (width = $("map").clientWidth)) return;
    drawMap();
  }).observe($("map"));
}

start(run);
