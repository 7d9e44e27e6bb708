// The map of pictures: one canvas, thumbnails from atlases, dots where pictures would be a smear.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const canvas = document.getElementById("map"), pen = canvas.getContext("2d");
const byId = (id) => document.getElementById(id);
const floats = Uint8Array.from(atob(data.places), (c) => c.charCodeAt(0)).buffer;
const place = new Float32Array(floats), n = place.length / 2;
const labels = data.labels.slice();            // index into names, or -1
const names = data.names.slice();
const selected = new Uint8Array(n);
const changes = [];                            // what undo takes back, newest last
const MOST_THUMBS = 3000;                      // more in one frame would stutter on a small machine
const KEY = "likewise-map-" + data.fingerprint; // labels survive a reload

// Twelve hues that differ in lightness too, so that they differ for colour-blind eyes.
const HUES = ["#0b6bb8", "#d1495b", "#2a9d4f", "#e3a008", "#7b4fb5", "#00a6a6", "#b8560b", "#ef7fb4", "#6b8e23", "#4a4e69", "#c9ada7", "#111827"];
const colour = (c) => (c < 0 ? "#8a8f98" : HUES[c % HUES.length]);

let bounds = [Infinity, Infinity, -Infinity, -Infinity];
for (let i = 0; i < n; i++) {
  const x = place[2 * i], y = place[2 * i + 1];
  bounds = [Math.min(bounds[0], x), Math.min(bounds[1], y), Math.max(bounds[2], x), Math.max(bounds[3], y)];
}
let scale = 1, left = 0, top_ = 0, lasso = null, lassoMode = false, drag = null, queued = false;
const pointers = new Map();

const atlases = Array.from({ length: data.atlases }, (_, a) => {
  const image = new Image();
  image.onload = draw;
  image.src = data.folder + "atlas-" + String(a).padStart(3, "0") + ".webp";
  return image;
});

function fit() {
  const w = canvas.clientWidth, h = canvas.clientHeight, pad = 40;
  const spanX = bounds[2] - bounds[0] || 1, spanY = bounds[3] - bounds[1] || 1;
  scale = Math.min((w - pad) / spanX, (h - pad) / spanY);
  left = (bounds[0] + bounds[2]) / 2 - w / 2 / scale;
  top_ = (bounds[1] + bounds[3]) / 2 - h / 2 / scale;
  draw();
}
function draw() { if (!queued) { queued = true; requestAnimationFrame(paint); } }
function paint() {
  queued = false;
  const ratio = window.devicePixelRatio || 1, w = canvas.clientWidth, h = canvas.clientHeight;
  if (canvas.width !== Math.round(w * ratio)) canvas.width = Math.round(w * ratio);
  if (canvas.height !== Math.round(h * ratio)) canvas.height = Math.round(h * ratio);
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, w, h);
  const seen = [];
  for (let i = 0; i < n; i++) {
    const x = (place[2 * i] - left) * scale, y = (place[2 * i + 1] - top_) * scale;
    if (x > -40 && y > -40 && x < w + 40 && y < h + 40) seen.push(i);
  }
  // A thumbnail is as large as the room that each visible picture has, and at most its own size.
  const room = Math.sqrt((w * h) / Math.max(seen.length, 1));
  const side = Math.min(data.side, Math.max(6, room * 0.75));
  const thumbs = seen.length <= MOST_THUMBS && side >= 10;
  for (const i of seen) {
    const x = (place[2 * i] - left) * scale, y = (place[2 * i + 1] - top_) * scale;
    const image = atlases[Math.floor(i / data.each)], at = i % data.each;
    if (thumbs && image.complete && image.naturalWidth) {
      pen.drawImage(image, (at % data.across) * data.side, Math.floor(at / data.across) * data.side, data.side, data.side, x - side / 2, y - side / 2, side, side);
      pen.lineWidth = selected[i] ? 4 : 1.5;
      pen.strokeStyle = selected[i] ? "#ffd400" : colour(labels[i]);
      pen.strokeRect(x - side / 2, y - side / 2, side, side);
    } else {
      const r = selected[i] ? 4 : 2.5;
      pen.fillStyle = selected[i] ? "#ffd400" : colour(labels[i]);
      pen.fillRect(x - r, y - r, 2 * r, 2 * r);
    }
  }
  if (lasso && lasso.length > 1) {
    pen.beginPath();
    lasso.forEach(([x, y], k) => (k ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    pen.closePath();
    pen.strokeStyle = getComputedStyle(document.body).color;
    pen.lineWidth = 1.5;
    pen.setLineDash([6, 4]);
    pen.stroke();
    pen.setLineDash([]);
  }
}
function zoom(factor, x, y) {
  const mapX = left + x / scale, mapY = top_ + y / scale;
  scale *= factor;
  left = mapX - x / scale;
  top_ = mapY - y / scale;
  draw();
}
function inside(polygon, x, y) {                // even-odd rule
  let odd = false;
  for (let a = 0, b = polygon.length - 1; a < polygon.length; b = a++) {
    const [xa, ya] = polygon[a], [xb, yb] = polygon[b];
    if (ya > y !== yb > y && x < ((xb - xa) * (y - ya)) / (yb - ya) + xa) odd = !odd;
  }
  return odd;
}
function select(test) {
  for (let i = 0; i < n; i++) selected[i] = test(i) ? 1 : 0;
  tell();
  draw();
}
function count() { return selected.reduce((a, b) => a + b, 0); }
function changed() { return labels.reduce((a, c, i) => a + (c !== data.labels[i] ? 1 : 0), 0); }
function tell() {
  const chosen = count(), new_ = changed();
  byId("apply").disabled = !chosen || !byId("label").value.trim();
  byId("undo").disabled = !changes.length;
  byId("save").disabled = !new_;
  byId("status").textContent = `${n} pictures, ${chosen} selected, ${new_} relabelled`;
}
function legend() {
  const used = new Set(labels), box = byId("legend"), list = byId("classes");
  box.replaceChildren();
  list.replaceChildren();
  names.forEach((name, c) => {
    const option = document.createElement("option");
    option.value = name;
    list.append(option);
    if (!used.has(c)) return;
    const row = document.createElement("div"), dot = document.createElement("i");
    dot.style.background = colour(c);           // a property, so the page's policy allows it
    row.append(dot, name);
    box.append(row);
  });
}
function remember() {
  const kept = {};
  labels.forEach((c, i) => { if (c !== data.labels[i]) kept[data.ids[i]] = names[c]; });
  try { localStorage.setItem(KEY, JSON.stringify(kept)); } catch { /* private windows have no store: the download still works */ }
}
function index(name) {
  if (!names.includes(name)) names.push(name);
  return names.indexOf(name);
}
function apply() {
  const name = byId("label").value.trim();
  if (!name || !count()) return;
  const to = index(name), before = [];
  for (let i = 0; i < n; i++) if (selected[i] && labels[i] !== to) { before.push([i, labels[i]]); labels[i] = to; }
  if (before.length) changes.push(before);
  after();
}
function undo() {
  for (const [i, was] of changes.pop() || []) labels[i] = was;
  after();
}
function after() { remember(); legend(); tell(); draw(); }
function save() {
  const quote = (text) => '"' + String(text).replace(/"/g, '""') + '"';
  const rows = ["picture_id,old_label,new_label"];
  labels.forEach((c, i) => {
    if (c !== data.labels[i]) rows.push([data.ids[i], data.names[data.labels[i]] ?? "", names[c]].map(quote).join(","));
  });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([rows.join("\r\n") + "\r\n"], { type: "text/csv" }));
  link.download = "labels.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
function setMode(on) {
  lassoMode = on;
  byId("mode").setAttribute("aria-pressed", String(on));
  canvas.classList.toggle("lasso", on);
}
const at = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, at(event));
  if (pointers.size === 1 && (lassoMode || event.shiftKey)) lasso = [at(event)];
  else drag = at(event);
});
canvas.addEventListener("pointermove", (event) => {
  if (!pointers.has(event.pointerId)) return;
  const was = pointers.get(event.pointerId), now = at(event);
  if (pointers.size === 2) {                    // two fingers: pinch
    const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, p]) => p);
    const apart = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]) || 1;
    zoom(apart(now) / apart(was), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    lasso = null;
  } else if (lasso) { lasso.push(now); draw(); }
  else { left -= (now[0] - was[0]) / scale; top_ -= (now[1] - was[1]) / scale; draw(); }
  pointers.set(event.pointerId, now);
});
function lift(event) {
  pointers.delete(event.pointerId);
  if (lasso && lasso.length > 2) {
    const shape = lasso;
    select((i) => inside(shape, (place[2 * i] - left) * scale, (place[2 * i + 1] - top_) * scale));
  }
  lasso = null;
  draw();
}
canvas.addEventListener("pointerup", lift);
canvas.addEventListener("pointercancel", lift);
canvas.addEventListener("wheel", (event) => { event.preventDefault(); zoom(Math.exp(-event.deltaY / 400), ...at(event)); }, { passive: false });
canvas.addEventListener("keydown", (event) => {
  const step = 60 / scale, w = canvas.clientWidth / 2, h = canvas.clientHeight / 2;
  const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
  if (moves[event.key]) { left += moves[event.key][0]; top_ += moves[event.key][1]; draw(); event.preventDefault(); }
  else if (event.key === "+" || event.key === "=") zoom(1.3, w, h);
  else if (event.key === "-") zoom(1 / 1.3, w, h);
  else if (event.key === "0") fit();
  else if (event.key.toLowerCase() === "l") setMode(!lassoMode);
  else if (event.key === "v") select((i) => {   // the pictures in view, for hands without a mouse
    const x = (place[2 * i] - left) * scale, y = (place[2 * i + 1] - top_) * scale;
    return x >= 0 && y >= 0 && x <= 2 * w && y <= 2 * h;
  });
  else if (event.key === "Escape") select(() => false);
});
document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "z" && event.target !== byId("label")) { undo(); event.preventDefault(); }
});
byId("label").addEventListener("keydown", (event) => { if (event.key === "Enter") apply(); });
byId("label").addEventListener("input", tell);
byId("mode").addEventListener("click", () => setMode(!lassoMode));
byId("apply").addEventListener("click", apply);
byId("undo").addEventListener("click", undo);
byId("whole").addEventListener("click", fit);
byId("save").addEventListener("click", save);
new ResizeObserver(draw).observe(canvas);

let kept = {};
try { kept = JSON.parse(localStorage.getItem(KEY) || "{}"); } catch { /* as above */ }
data.ids.forEach((id, i) => { if (Object.hasOwn(kept, id)) labels[i] = index(kept[id]); });
legend();
tell();
fit();
