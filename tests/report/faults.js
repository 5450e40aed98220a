// What axe-core would find first, where it is not there: names, landmarks, headers, ids, contrast.
() => {
  const faults = [], all = (selector) => [...document.querySelectorAll(selector)];
  const name = (e) => e.getAttribute('aria-label') || e.labels?.[0]?.textContent.trim() || e.textContent.trim();
  for (const e of all('button, select, input, a, [tabindex="0"]')) if (!name(e)) faults.push('no name: ' + e.outerHTML);
  const ids = all('[id]').map((e) => e.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) faults.push('twice: ' + id);
  for (const e of all('th')) if (!e.scope) faults.push('no scope: ' + e.textContent);
  for (const [selector, n] of [['main', 1], ['header', 1], ['h1', 1]]) if (all(selector).length !== n) faults.push(selector);
  for (const e of all('section')) if (!document.getElementById(e.getAttribute('aria-labelledby'))) faults.push('section');
  if (document.documentElement.lang !== 'en') faults.push('lang');
  const rgb = (c) => c.match(/[\d.]+/g).map(Number);
  const light = (c) => { const [r, g, b] = c.map((x) => (x /= 255) <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b; };
  const ground = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c[3] !== 0) return c; } return [255, 255, 255]; };
  for (const e of all('body *:not(script):not(option)')) {
    if (e.closest('svg') || ![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || !e.offsetParent) continue;
    const [x, y] = [light(rgb(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
    if ((x + .05) / (y + .05) < 4.5) faults.push('contrast: ' + e.outerHTML.slice(0, 80));
  }
  for (const e of all('#map svg text')) {
    const box = e.getBBox(), under = all('#map rect.cell').find((r) => { const b = r.getBBox(); return box.x + box.width / 2 > b.x && box.x + box.width / 2 < b.x + b.width && box.y + box.height / 2 > b.y && box.y + box.height / 2 < b.y + b.height; });
    if (!under || !under.getAttribute('fill').startsWith('rgb')) continue;
    const ink = e.getAttribute('fill') === '#000' ? 0 : 1, [x, y] = [ink, light(rgb(under.getAttribute('fill')))].sort((x, y) => y - x);
    if ((x + .05) / (y + .05) < 4.5) faults.push('contrast in the map: ' + e.textContent);
  }
  return faults;
}
