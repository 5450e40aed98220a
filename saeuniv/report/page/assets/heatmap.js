// Heatmaps. A map is {rows, columns, at(i, j), why(i, j), dot(i, j), palette, low, high, title}.
const STOPS = {
  cividis: [[0, 32, 77], [0, 51, 111], [57, 72, 107], [87, 93, 109], [112, 113, 115], [138, 134, 120], [165, 156, 116], [195, 179, 105], [225, 204, 85], [255, 234, 70]],
  diverging: [[33, 102, 172], [103, 169, 207], [209, 229, 240], [247, 247, 247], [253, 219, 199], [239, 138, 98], [178, 24, 43]],
};
// Significance has classes: the brighter, the smaller q.
const CLASSES = [[0.001, [255, 234, 70], "q ≤ .001"], [0.01, [165, 156, 116], "q ≤ .01"], [0.05, [87, 93, 109], "q ≤ .05"], [Infinity, [0, 32, 77], "q > .05"]];
const GREY = "#d9d9d9", HATCH = "#6e6e6e";
const ANGLES = [45, 135, 90, 0, 20, 70];

function mix(stops, share) {
  const place = Math.max(0, Math.min(1, share)) * (stops.length - 1);
  const i = Math.min(stops.length - 2, Math.floor(place));
  return stops[i].map((part, k) => Math.round(part + (stops[i + 1][k] - part) * (place - i)));
}

function fill(map, value) {
  if (map.palette === "classes") return CLASSES.find(([bound]) => value <= bound)[1];
  return mix(STOPS[map.palette], map.high > map.low ? (value - map.low) / (map.high - map.low) : 0.5);
}

const rgb = (colour) => `rgb(${colour.join(",")})`;

// Black or white, whichever has the larger contrast (WCAG 2 relative luminance).
function ink(colour) {
  const [r, g, b] = colour.map((part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4));
  const luminance = 0.2126 * r + 0.7152 * g + 0.0722 * b;
  return (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) ? "#000" : "#fff";
}

function range(matrices, palette) {
  const values = matrices.flat(2).filter((value) => value != null);
  if (!values.length) return [0, 1];
  const low = values.reduce((x, y) => Math.min(x, y)), high = values.reduce((x, y) => Math.max(x, y));
  if (palette === "diverging") {
    const most = Math.max(Math.abs(low), Math.abs(high)) || 1;
    return [-most, most];
  }
  return high > low ? [low, high] : [low - 0.5, high + 0.5];
}

const label = (x, y, text, more = {}) => svg("text", { x, y, fill: colourOf("--fg"), "font-size": 11, ...more }, text);

// The large heatmap, laid out for this width in pixels: text keeps its size on every screen.
function heatmap(map, width, numbers) {
  const across = map.columns.length, down = map.rows.length, left = 46, top = 58;
  const cell = Math.max(5, Math.min(Math.floor((width - left - 8) / across), across * down > 300 ? Math.floor(760 / down) : 64));
  const high = across * down > 300 ? cell : Math.max(20, Math.min(cell, 36));
  const right = left + across * cell, bottom = top + down * high;
  const reasons = [...new Set(cells(map).filter(([i, j]) => map.at(i, j) == null).map(([i, j]) => map.why(i, j)))];
  const dots = cells(map).some(([i, j]) => map.dot(i, j));
  const total = Math.max(right + 8, Math.min(width, 340)), height = bottom + 62 + 18 * (reasons.length + (dots ? 1 : 0));
  const out = svg("svg", { viewBox: `0 0 ${total} ${height}`, width: total, height, "font-family": 'system-ui, "DejaVu Sans", sans-serif' });
  out.append(hatches(reasons), svg("rect", { width: total, height, fill: colourOf("--bg") }));
  out.append(label(4, 15, map.title, { "font-size": 13, "font-weight": 600 }), label(left, 33, "layer of B →", { fill: colourOf("--muted") }));
  out.append(label(12, top, "layer of A →", { fill: colourOf("--muted"), transform: `rotate(90 12 ${top}) translate(0 4)` }));
  const bordered = cell >= 14 ? 1 : 0;
  for (const [i, j] of cells(map)) {
    const value = map.at(i, j), x = left + j * cell, y = top + i * high, colour = value == null ? null : fill(map, value);
    const box = { x, y, width: cell - bordered, height: high - bordered, "shape-rendering": "crispEdges", class: "cell", "data-at": `${i},${j}` };
    out.append(svg("rect", { ...box, fill: colour ? rgb(colour) : `url(#hatch${reasons.indexOf(map.why(i, j))})` }, svg("title", {}, map.say(i, j))));
    const written = numbers && cell >= 23 && colour;
    const inside = { fill: colour && ink(colour), "pointer-events": "none" };
    if (written) out.append(label(x + cell / 2, y + high / 2 + 4, map.write(value), { ...inside, "text-anchor": "middle", "font-size": cell >= 30 ? 11 : 9.5 }));
    if (colour && map.dot(i, j)) out.append(svg("circle", { ...inside, cx: written ? x + cell - 5 : x + (cell - bordered) / 2, cy: written ? y + 4.5 : y + (high - bordered) / 2, r: Math.min(1.8, cell / 6) }));
  }
  ticks(map.rows, high, (text, at) => out.append(label(left - 5, top + at + 4, text, { "text-anchor": "end" })), 14);
  ticks(map.columns, cell, (text, at) => out.append(label(left + at, top - 6, text, { "text-anchor": "middle" })), 9 + 7 * Math.max(...map.columns.map((name) => name.length)));
  legend(out, map, left, bottom + 14, Math.max(180, Math.min(right - left, 320)), reasons, dots);
  // Drawn last, white and black, so that no neighbour hides it and it shows on every colour.
  const ring = svg("g", { class: "ring", fill: "none", "pointer-events": "none" }, svg("rect", { stroke: "#fff", "stroke-width": 5 }), svg("rect", { stroke: "#000", "stroke-width": 2 }));
  out.append(ring);
  out.mark = (i, j) => {
    for (const box of ring.children) filled(box, { x: left + j * cell - 1, y: top + i * high - 1, width: cell + 2 - bordered, height: high + 2 - bordered }, []);
  };
  return out;
}

const cells = (map) => map.rows.flatMap((_, i) => map.columns.map((_, j) => [i, j]));

function ticks(names, step, draw, room) {
  const every = [1, 2, 5, 10, 20, 50].find((n) => n * step >= room) ?? 100;
  names.forEach((name, at) => at % every === 0 && draw(name, (at + 0.5) * step));
}

function hatches(reasons) {
  return svg("defs", {}, ...reasons.map((_, at) => {
    const attributes = { id: `hatch${at}`, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: `rotate(${ANGLES[at % ANGLES.length]})` };
    return svg("pattern", attributes, svg("rect", { width: 6, height: 6, fill: GREY }), svg("rect", { width: 1.5, height: 6, fill: HATCH }));
  }));
}

function legend(out, map, x, y, width, reasons, dots) {
  if (map.palette === "classes") {
    CLASSES.forEach(([, colour, name], k) => out.append(svg("rect", { x: x + k * 74, y, width: 12, height: 12, fill: rgb(colour), stroke: colourOf("--muted") }), label(x + k * 74 + 16, y + 10, name, { "font-size": 10 })));
  } else {
    const steps = 64;
    for (let k = 0; k < steps; k++) out.append(svg("rect", { x: x + (k * width) / steps, y, width: width / steps + 0.6, height: 10, fill: rgb(mix(STOPS[map.palette], k / (steps - 1))) }));
    const places = [[0, "start"], [0.5, "middle"], [1, "end"]];
    for (const [share, anchor] of places) out.append(label(x + share * width, y + 24, number(map.low + share * (map.high - map.low)), { "text-anchor": anchor }));
  }
  let line = y + 36;
  const entry = (mark, text) => {
    out.append(mark, label(x + 20, line + 10, text));
    line += 18;
  };
  if (dots) entry(svg("circle", { cx: x + 7, cy: line + 6, r: 2.2, fill: colourOf("--fg") }), "q ≤ .05 over the layer pairs of this metric");
  reasons.forEach((reason, at) => entry(svg("rect", { x, y: line, width: 14, height: 12, fill: `url(#hatch${at})` }), reason));
}

// A small heatmap: pixels, because dozens of them are drawn at once.
function thumbnail(map) {
  const across = map.columns.length, down = map.rows.length, size = Math.max(6, Math.ceil(300 / across));
  const canvas = html("canvas", { width: across * size, height: down * size, "aria-hidden": "true" });
  const pen = canvas.getContext("2d");
  for (const [i, j] of cells(map)) {
    const value = map.at(i, j);
    pen.fillStyle = value == null ? GREY : rgb(fill(map, value));
    pen.fillRect(j * size, i * size, size, size);
    if (value != null) continue;
    pen.strokeStyle = HATCH;
    pen.lineWidth = Math.max(1, size / 10);
    pen.beginPath();
    pen.moveTo(j * size, (i + 1) * size);
    pen.lineTo((j + 1) * size, i * size);
    pen.stroke();
  }
  return canvas;
}
