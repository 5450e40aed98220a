// The matches of one layer pair, their texts as a concordance, and one latent followed through the other layers.
const AT_ONCE = 40;
const COLUMNS = [["r", "r"], ["held", "r held out"], ["a", "latent of A"], ["b", "latent of B"], ["rate_a", "rate of A"], ["rate_b", "rate of B"]];

function matchesOf(i, j) {
  const pair = pairAt(i, j);
  const out = html("div", {}, html("h3", {}, "Matches"));
  if (!pair || !pair.of) {
    out.append(html("p", { class: "muted" }, pair ? "No latents of this layer pair were matched." : "This page has no matches and texts of this layer pair."));
    return out;
  }
  if (D.left_out) out.append(html("p", { class: "muted" }, D.left_out));
  const search = html("input", { type: "search", id: "search", value: state.search, size: 22 });
  const count = html("p", { id: "count", role: "status", class: "muted" });
  const body = html("div", { id: "matches", class: "scroll", tabindex: 0, role: "region", "aria-label": "Matches" });
  search.addEventListener("input", () => {
    state.search = search.value;
    state.shown = 0;
    drawMatches(pair, body, count);
  });
  const keys = html("p", { class: "muted" }, html("span", { class: "key a" }, "A active"), html("span", { class: "key b" }, "B active"), "Texts are aligned on the token where the latent they were found by (A or B, at the left) is most active.");
  out.append(html("div", { class: "controls" }, html("label", {}, "Search latents and texts ", search)), count, keys, body, html("div", { id: "follow", tabindex: -1 }));
  state.shown = 0;
  drawMatches(pair, body, count);
  return out;
}

function found(pair) {
  const wanted = state.search.trim().toLowerCase();
  const has = (match) => !wanted || String(match.a) === wanted || String(match.b) === wanted || match.texts.some((each) => each.tokens.join("").toLowerCase().includes(wanted));
  return ordered(pair.matches.filter(has), (match) => match[state.sort.key], state.sort.down);
}

function drawMatches(pair, body, count) {
  const all = found(pair), shown = all.slice(0, (state.shown ||= AT_ONCE));
  count.textContent = `${all.length} of ${pair.of} matches${all.length > shown.length ? `, ${shown.length} shown` : ""}.`;
  const resort = (sort) => {
    state.sort = sort;
    drawMatches(pair, body, count);
    body.querySelector(`[data-key="${sort.key}"]`).focus();
  };
  const head = html("tr", {}, ...COLUMNS.map(([key, name]) => sorter(name, key, state.sort, resort)));
  const rows = shown.flatMap((match) => {
    const latents = ["a", "b"].map((side) => html("td", { class: "number" }, latentButton(side, match[side])));
    const [r, held, rate_a, rate_b] = ["r", "held", "rate_a", "rate_b"].map((key) => html("td", { class: "number" }, key[1] === "a" ? small(match[key]) : number(match[key], 3)));
    const texts = html("td", { colspan: COLUMNS.length, class: "texts" }, ...match.texts.map(concordance));
    return [html("tr", {}, r, held, ...latents, rate_a, rate_b), ...(match.texts.length ? [html("tr", {}, texts)] : [])];
  });
  body.replaceChildren(html("table", {}, html("thead", {}, head), html("tbody", {}, ...rows)));
  if (all.length === shown.length) return;
  const more = html("button", { type: "button", id: "more" }, `Show ${Math.min(AT_ONCE, all.length - shown.length)} more`);
  more.addEventListener("click", () => {
    state.shown += AT_ONCE;
    drawMatches(pair, body, count);
    body.focus();
  });
  body.append(more);
}

function concordance(each) {
  const tokens = each.tokens.map((token, at) => {
    const shown = html("bdi", { class: each.a[at] ? "token a" : "token", dir: "auto" }, token);
    if (each.a[at]) shown.style.backgroundColor = mixed(each.a[at], [230, 159, 0]);
    if (each.b[at]) shown.style.borderBottomColor = `rgba(0,114,178,${0.3 + (0.7 * each.b[at]) / 9})`;
    return shown;
  });
  const title = `${each.document}: largest activation here A ${small(each.most_a)}, B ${small(each.most_b)}`;
  return html("div", { class: "text", title }, html("span", {}, each.of.toUpperCase()), html("span", { class: "left" }, ...tokens.slice(0, each.peak)), html("span", { class: "right" }, ...tokens.slice(each.peak)));
}

// Opaque, so that black text on it has contrast on a dark page too.
const mixed = (shade, colour) => rgb(colour.map((part) => Math.round(255 + (part - 255) * (0.2 + (0.8 * shade) / 9))));

function latentButton(side, latent) {
  const button = html("button", { type: "button", "aria-label": `Follow latent ${latent} of ${side.toUpperCase()} through the other layers` }, latent);
  button.addEventListener("click", () => follow(side, latent));
  return button;
}

// Where a latent goes: its matches in all layers of the other model that this page has.
function follow(side, latent) {
  const [i, j] = state.open, other = side === "a" ? "b" : "a";
  const layers = other === "a" ? D.layers_a : D.layers_b;
  const rows = layers.map((layer, at) => {
    const pair = side === "a" ? pairAt(i, at) : pairAt(at, j);
    const match = pair?.matches.find((each) => each[side] === latent);
    return match ? [`layer ${layer}`, match[other], number(match.r, 3), number(match.held, 3)] : [`layer ${layer}`, pair ? "not matched, or left out" : "no matches here", "–", "–"];
  });
  const own = side === "a" ? D.layers_a[i] : D.layers_b[j];
  const title = `Latent ${latent} of ${side.toUpperCase()}, layer ${own}, in the layers of ${other.toUpperCase()}`;
  $("follow").replaceChildren(html("h3", {}, title), table(title, ["layer", `latent of ${other.toUpperCase()}`, "r", "r held out"], rows));
  $("follow").focus({ preventScroll: true });
  $("follow").scrollIntoView({ block: "nearest" });
}
