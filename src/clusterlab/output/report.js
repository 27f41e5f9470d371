// What the report can do beyond standing still: names for the clusters, the map, light and dark.
// Text from outside is only ever set as textContent or as the value of a field, never as HTML.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const all = (selector) => [...document.querySelectorAll(selector)];
const one = (id) => document.getElementById(id);

// A page that is opened as a file, or shown inside another, may be refused any storage.
function keep(key, value) {
  try { localStorage.setItem(`clusterlab ${key}`, JSON.stringify(value)); } catch { return false; }
  return true;
}
function kept(key) {
  try { return JSON.parse(localStorage.getItem(`clusterlab ${key}`)); } catch { return null; }
}

// ---- light and dark ----
const root = document.documentElement;
const night = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : night.matches);
function showTheme() {
  one("theme").textContent = isDark() ? "Light page" : "Dark page"; // what a press leads to
  map?.draw();
}
function startTheme() {
  const before = kept("theme");
  if (before === "dark" || before === "light") root.dataset.theme = before;
  one("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    keep("theme", root.dataset.theme);
    showTheme();
  });
  night.addEventListener("change", showTheme);
}

// ---- names ----
// What was typed is kept per cluster with the name that names.yaml gave at that time: a file changed since wins.
const typed = new Map(Object.entries(kept(`names ${data.result}`) ?? {}));
const given = (cluster) => data.names[cluster] ?? "";
function nameOf(cluster) {
  const [before, name] = [typed.get(String(cluster))].flat();
  return clean(typeof name === "string" && before === given(cluster) ? name : given(cluster));
}
const label = (cluster) => nameOf(cluster) || `Cluster ${cluster}`;
function clean(text) {
  const visible = text.replace(/[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\ufeff\ufffe\uffff]/gu, " ");
  return [...visible.replace(/\s+/gu, " ").trim()].slice(0, data.longestName).join("").trim();
}
function showNames() {
  for (const place of all("[data-name]")) {
    place.textContent = nameOf(place.dataset.name) || (place.dataset.unnamed ?? label(place.dataset.name));
  }
  one("names-text").textContent = namesFile();
  map?.draw();
}
// A string in JSON's quotes is one in YAML's, once nothing is in it that YAML calls unprintable: clean sees to that.
function namesFile() {
  const named = [...Array(data.numClusters).keys()].filter((cluster) => nameOf(cluster));
  const lines = named.map((cluster) => `\n  ${cluster}: ${JSON.stringify(nameOf(cluster))}`);
  return `result: ${JSON.stringify(data.result)}\nnames:${lines.length ? lines.join("") : " {}"}\n`;
}
function startNames() {
  for (const field of all("[data-typed]")) {
    const cluster = field.dataset.typed;
    field.value = nameOf(cluster);
    field.addEventListener("input", () => {
      typed.set(cluster, [given(cluster), clean(field.value)]);
      const isKept = keep(`names ${data.result}`, Object.fromEntries(typed));
      one("kept").textContent = isKept ? "Kept in this browser." : "This browser keeps nothing for this page: save the file.";
      showNames();
    });
    field.addEventListener("change", () => { field.value = nameOf(cluster); });
  }
  one("save").addEventListener("click", () => {
    const href = URL.createObjectURL(new Blob([namesFile()], { type: "application/yaml" }));
    const link = Object.assign(document.createElement("a"), { href, download: "names.yaml" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(href), 10_000);
  });
}

// ---- map ----
class ImageMap {
  constructor(given, colours) {
    Object.assign(this, given);
    this.colours = colours;
    const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0)).buffer;
    this.xs = new Uint16Array(bytes(given.x));
    this.ys = new Uint16Array(bytes(given.y));
    this.clusters = new Uint16Array(bytes(given.cluster));
    this.confidences = new Uint8Array(bytes(given.confidence));
    this.lines = new Uint32Array(bytes(given.line));
    [this.canvas, this.tip, this.picture] = ["map-canvas", "map-tip", "map-picture"].map(one);
    this.layer = document.createElement("canvas"); // dots and names, drawn once for all images that are pointed at
    this.pen = this.layer.getContext("2d");
    this.chosen = new Set(); // clusters; none chosen: all are shown
    this.current = -1;
    this.view = { zoom: 1, left: 0, top: 0 }; // what is seen, in widths of the map
    this.images = [];
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    this.listen();
  }
  isShown(cluster) { return this.chosen.size === 0 || this.chosen.has(cluster); }
  place(x, y) {
    const scale = this.size * this.view.zoom;
    return [(x - this.view.left) * scale, (y - this.view.top) * scale];
  }
  placeOf(i) { return this.place(this.xs[i] / this.steps, this.ys[i] / this.steps); }
  draw() {
    this.size = this.canvas.clientWidth;
    if (!this.size) return;
    const pen = this.pen, sharp = devicePixelRatio || 1, width = Math.round(this.size * sharp);
    for (const canvas of [this.canvas, this.layer]) { // to set the size is to clear it
      Object.assign(canvas, { width, height: Math.round(width * this.height) }).getContext("2d").scale(sharp, sharp);
    }
    const { color: ink, backgroundColor: ground } = getComputedStyle(this.canvas);
    const usual = Math.min(Math.max(0.16 / Math.sqrt(this.xs.length), 0.0016), 0.007) * this.size;
    const radius = (this.radius = Math.max(usual, 0.9) * Math.sqrt(this.view.zoom));
    for (const visible of [false, true]) { // those that are not chosen lie below
      pen.globalAlpha = visible ? 1 : 0.12;
      // The last are drawn first: those with a picture lie on top.
      for (let i = this.xs.length - 1; i >= 0; i--) {
        if (this.isShown(this.clusters[i]) === visible) this.dot(i, radius, this.colours[this.clusters[i]]);
      }
    }
    pen.globalAlpha = 1;
    Object.assign(pen, { font: "600 15px system-ui, sans-serif", textAlign: "center", textBaseline: "middle" });
    Object.assign(pen, { lineJoin: "round", lineWidth: 4, strokeStyle: ground, fillStyle: ink });
    for (const [cluster, x, y] of this.middles) {
      if (!this.isShown(cluster)) continue;
      const name = nameOf(cluster) || String(cluster);
      const text = name.length > 20 ? `${[...name].slice(0, 19).join("")}…` : name;
      const [atX, atY] = this.place(x, y);
      const half = pen.measureText(text).width / 2 + 4;
      const inside = this.view.zoom > 1 ? atX : Math.min(Math.max(atX, half), this.size - half);
      pen.strokeText(text, inside, atY);
      pen.fillText(text, inside, atY);
    }
    this.mark();
  }
  mark() {
    const pen = this.canvas.getContext("2d"), { color: ink, backgroundColor: ground } = getComputedStyle(this.canvas);
    pen.clearRect(0, 0, this.size, this.size);
    pen.drawImage(this.layer, 0, 0, this.size, this.size * this.height);
    if (this.current < 0) return;
    for (const [lineWidth, strokeStyle] of [[5, ground], [2, ink]]) {
      Object.assign(pen, { lineWidth, strokeStyle }).beginPath();
      pen.arc(...this.placeOf(this.current), this.radius + 4, 0, 2 * Math.PI);
      pen.stroke();
    }
  }
  dot(i, radius, colour) {
    const [x, y] = this.placeOf(i);
    if (x < -radius || y < -radius || x > this.size + radius || y > this.size * this.height + radius) return;
    this.pen.fillStyle = colour;
    if (radius < 1.5) {
      this.pen.fillRect(x - radius, y - radius, 2 * radius, 2 * radius);
    } else {
      this.pen.beginPath();
      this.pen.arc(x, y, radius, 0, 2 * Math.PI);
      this.pen.fill();
    }
  }
  // The dot with the lowest cost, −1 if all are infinite; one with a picture goes before one without.
  best(cost) {
    let found = -1, lowest = Infinity;
    for (let i = 0; i < this.xs.length; i++) {
      if (i === this.ids.length && found >= 0) break;
      if (!this.isShown(this.clusters[i])) continue;
      const [x, y] = this.placeOf(i);
      if (x < 0 || y < 0 || x > this.size || y > this.size * this.height) continue;
      const here = cost(x, y, i);
      if (here < lowest) [found, lowest] = [i, here];
    }
    return found;
  }
  near(x, y, reach) {
    return this.best((atX, atY) => {
      const far = Math.hypot(atX - x, atY - y);
      return far <= reach ? far : Infinity;
    });
  }
  step(dx, dy, least) {
    const [x, y] = this.current >= 0 ? this.placeOf(this.current) : [this.size / 2, (this.size * this.height) / 2];
    const next = this.best((atX, atY, i) => {
      const along = (atX - x) * dx + (atY - y) * dy, aside = Math.abs((atX - x) * dy) + Math.abs((atY - y) * dx);
      return i === this.current || along <= least || aside > along ? Infinity : along + 2 * aside;
    });
    if (next >= 0) this.select(next, true);
  }
  select(i, aloud) {
    if (i === this.current) return;
    this.current = i;
    this.tip.hidden = i < 0;
    this.mark();
    if (i < 0) return;
    const hasPicture = i < this.ids.length; // the first have one, all others have not
    one("map-id").textContent = hasPicture ? this.ids[i] : "no picture of this one here";
    one("map-line").textContent = hasPicture ? "" : `line ${this.lines[i].toLocaleString("en")} of assignments.csv`;
    one("map-cluster").textContent = label(this.clusters[i]);
    one("map-sure").textContent = `confidence ${Math.round((100 * this.confidences[i]) / this.sure)} %`;
    this.tip.style.setProperty("--c", this.colours[this.clusters[i]]);
    this.picture.hidden = !hasPicture;
    if (hasPicture) this.paint(i);
    const [x, y] = this.placeOf(i);
    const { offsetWidth: width, offsetHeight: height } = this.tip;
    const left = Math.min(Math.max(x - width / 2, 0), Math.max(this.size - width, 0));
    const top = y - height - 14 >= 0 ? y - height - 14 : y + 14;
    this.tip.style.transform = `translate(${left}px, ${top}px)`;
    if (aloud) one("map-said").textContent = this.tip.innerText.replace(/\s+/g, " ");
  }
  async paint(i) {
    const sheet = Math.floor(i / this.perSheet), at = i % this.perSheet;
    this.images[sheet] ??= Object.assign(new Image(), { src: this.sheets[sheet] });
    await this.images[sheet].decode();
    if (i !== this.current) return; // another has been chosen meanwhile
    const x = (at % this.columns) * this.tile, y = Math.floor(at / this.columns) * this.tile;
    const pen = this.picture.getContext("2d");
    pen.imageSmoothingEnabled = !this.pixelated;
    pen.drawImage(this.images[sheet], x, y, this.tile, this.tile, 0, 0, this.picture.width, this.picture.height);
  }
  zoom(factor, x = this.size / 2, y = (this.size * this.height) / 2) {
    const view = this.view, before = this.size * view.zoom;
    const [overX, overY] = [view.left + x / before, view.top + y / before];
    view.zoom = Math.min(Math.max(view.zoom * factor, 1), 32);
    this.move(overX - x / (this.size * view.zoom), overY - y / (this.size * view.zoom));
  }
  move(left, top) {
    const most = 1 - 1 / this.view.zoom;
    this.view.left = Math.min(Math.max(left, 0), most);
    this.view.top = Math.min(Math.max(top, 0), most * this.height);
    this.canvas.classList.toggle("zoomed", this.view.zoom > 1);
    this.select(-1);
    this.draw();
  }
  listen() {
    const canvas = this.canvas;
    let held = null; // where a pointer went down, and the view at that time
    canvas.addEventListener("pointerdown", (event) => {
      held = { x: event.offsetX, y: event.offsetY, moved: false, ...this.view };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      const [dx, dy] = held ? [event.offsetX - held.x, event.offsetY - held.y] : [0, 0];
      if (held && this.view.zoom > 1 && (held.moved || Math.hypot(dx, dy) > 5)) {
        held.moved = true;
        this.move(held.left - dx / (this.size * held.zoom), held.top - dy / (this.size * held.zoom));
      } else if (event.pointerType === "mouse") {
        this.select(this.near(event.offsetX, event.offsetY, 16));
      }
    });
    canvas.addEventListener("pointerup", (event) => {
      if (held && !held.moved) this.select(this.near(event.offsetX, event.offsetY, 24));
      held = null;
    });
    canvas.addEventListener("pointercancel", () => { held = null; });
    canvas.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse" && !held) this.select(-1);
    });
    canvas.addEventListener("wheel", (event) => { // with Ctrl, or two fingers: plain turning scrolls the page
      if (!event.ctrlKey) return;
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 200), event.offsetX, event.offsetY);
    }, { passive: false });
    const arrows = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (arrows[event.key]) this.step(...arrows[event.key], event.shiftKey ? this.size / 10 : 0.5);
      else if (event.key === "+") this.zoom(1.5);
      else if (event.key === "-") this.zoom(1 / 1.5);
      else if (event.key === "0") this.zoom(0);
      else if (event.key === "Escape") this.select(-1);
      else return;
      event.preventDefault();
    });
    const factors = { "map-in": 1.5, "map-out": 1 / 1.5, "map-whole": 0 };
    for (const [id, factor] of Object.entries(factors)) one(id).addEventListener("click", () => this.zoom(factor));
    const buttons = all("[data-choose]");
    const choose = (change) => {
      change();
      for (const button of buttons) button.setAttribute("aria-pressed", this.chosen.has(Number(button.dataset.choose)));
      this.select(-1);
      this.draw();
    };
    for (const button of buttons) {
      const cluster = Number(button.dataset.choose);
      button.addEventListener("click", () => choose(() => this.chosen.delete(cluster) || this.chosen.add(cluster)));
    }
    one("map-all").addEventListener("click", () => choose(() => this.chosen.clear()));
  }
}

let map = null;
root.classList.add("live");
startTheme();
startNames();
if (data.map) map = new ImageMap(data.map, data.colours);
showTheme();
showNames();
