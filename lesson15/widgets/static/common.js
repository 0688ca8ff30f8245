// Shared by every widget: it is put before the widget's own source.
const STATES = ["pending", "running", "done", "failed", "skipped", "removed"];

function element(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function card(el, title) {
  const root = element("div", "l15");
  const head = element("div", "l15-head");
  head.append(element("span", "l15-title", title));
  root.append(head);
  el.append(root);
  return { root, head };
}

function color(root, name) {
  return getComputedStyle(root).getPropertyValue(`--l15-${name}`).trim() || "#888";
}

// A slider whose track is filled up to its thumb; set its value by `show(value)`.
function rangeSlider(label, maximum, step) {
  const node = element("input");
  Object.assign(node, { type: "range", min: 0, max: maximum, step, value: 0 });
  node.setAttribute("aria-label", label);
  const fill = () => {
    node.style.setProperty("--l15-fill", `${(100 * node.value) / Math.max(1e-9, node.max)}%`);
  };
  node.addEventListener("input", fill);
  return { node, show(value) { node.value = value; fill(); } };
}

function legend(counts) {
  const box = element("div", "l15-legend");
  for (const state of STATES) {
    if (!counts[state] && state === "removed") continue;
    const item = element("span");
    const mark = element("i");
    mark.style.background = `var(--l15-${state})`;
    item.append(mark, `${state} ${counts[state] ?? 0}`);
    box.append(item);
  }
  return box;
}

// A canvas as wide as its card and `height` pixels high, sharp on any screen; `draw(context,
// width, height)` is called on the next frame after redraw(), a resize or a change of theme.
function canvas(root, height, draw) {
  const node = element("canvas");
  root.append(node);
  let asked = false;
  let cssHeight = height;
  const paint = () => {
    asked = false;
    const width = node.clientWidth;
    if (!width) return;
    const scale = window.devicePixelRatio || 1;
    if (node.width !== Math.round(width * scale) || node.height !== Math.round(cssHeight * scale)) {
      node.style.height = `${cssHeight}px`;
      node.width = Math.round(width * scale);
      node.height = Math.round(cssHeight * scale);
    }
    const context = node.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    draw(context, width, cssHeight);
    node.dataset.frames = Number(node.dataset.frames || 0) + 1;
  };
  const redraw = () => {
    if (!asked) requestAnimationFrame(paint);
    asked = true;
  };
  const resized = new ResizeObserver(redraw);
  resized.observe(node);
  const themed = new MutationObserver(redraw);
  themed.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  return {
    node,
    redraw,
    setHeight(value) { cssHeight = value; redraw(); },
    release() { resized.disconnect(); themed.disconnect(); },
  };
}

// A grid of documents on a canvas. Only changed cells are painted, unless everything moved.
function documentGrid(root) {
  let codes = new Uint8Array(0);
  let changed = null; // null: all
  let shape = { size: 12, columns: 1 };
  let width = 0;
  let theme = "";
  const layout = (available) => {
    let size = 18;
    while (size > 4 && Math.ceil(codes.length / Math.floor(available / size)) * size > 420) size -= 1;
    return { size, columns: Math.max(1, Math.floor(available / size)) };
  };
  const surface = canvas(root, 18, (context, newWidth, height) => {
    const newTheme = document.body.dataset.jpThemeLight || "";
    if (newWidth !== width || newTheme !== theme) changed = null;
    [width, theme] = [newWidth, newTheme];
    const colors = STATES.map((state) => color(root, state));
    if (changed === null) {
      shape = layout(width);
      const wanted = Math.max(shape.size, Math.ceil(codes.length / shape.columns) * shape.size);
      if (wanted !== height) { surface.setHeight(wanted); return; }
      context.clearRect(0, 0, width, height);
    }
    const { size, columns } = shape;
    const gap = size > 6 ? 2 : 1;
    const cells = changed === null ? codes.keys() : changed;
    for (const place of cells) {
      context.fillStyle = colors[codes[place]];
      const x = (place % columns) * size;
      const y = Math.floor(place / columns) * size;
      context.fillRect(x, y, size - gap, size - gap);
    }
    changed = [];
  });
  return {
    surface,
    get codes() { return codes; },
    replace(bytes) { codes = bytes.slice(); changed = null; surface.redraw(); },
    update(places, values) {
      places.forEach((place, n) => { codes[place] = values[n]; });
      if (changed !== null) for (const place of places) changed.push(place);
      surface.redraw();
    },
    placeAt(event) {
      const box = surface.node.getBoundingClientRect();
      const column = Math.floor((event.clientX - box.left) / shape.size);
      const place = Math.floor((event.clientY - box.top) / shape.size) * shape.columns + column;
      return column < shape.columns && place >= 0 && place < codes.length ? place : null;
    },
    counts() {
      const counts = {};
      for (const code of codes) counts[STATES[code]] = (counts[STATES[code]] || 0) + 1;
      return counts;
    },
  };
}

function bytes(view) {
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
}
