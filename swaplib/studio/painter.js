// The painting board. What is being drawn is drawn here at once; a finished stroke goes to Python as an edit
// (`swaplib.studio.masks`), and the mask that Python answers with replaces what was drawn. Python holds the truth.

const TOOLS = {
  brush: "Brush: paint the chosen region",
  outline: "Outline: draw around an area, which is filled when you let go",
  fill: "Fill: paint the patch under the pointer",
  pick: "Pick: choose the region under the pointer (with any tool: hold Alt)",
};
const ARROWS = { ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowRight: [1, 0] };
const round = (value) => Math.round(value * 100) / 100;

// ------------------------------------------------------------------------------------------ label maps

// A label map is sent as runs, 32 bits each, little-endian: the label in the lowest byte, the length above it.
export function unpack(view, count) {
  const labels = new Uint8Array(count);
  let at = 0;
  for (let i = 0; i + 4 <= view.byteLength; i += 4) {
    const run = view.getUint32(i, true);
    labels.fill(run & 255, at, at + (run >>> 8));
    at += run >>> 8;
  }
  return labels;
}

// As `swaplib.painting.stroke`: pixels whose centres are within half the width of the path, and those that its points
// fall into. Returns the changed box [left, top, right, bottom), or null.
export function stroke(labels, [height, width], value, points, brush) {
  const radius = brush / 2;
  const box = [width, height, 0, 0];
  const put = (x, y) => {
    labels[y * width + x] = value;
    box[0] = Math.min(box[0], x);
    box[1] = Math.min(box[1], y);
    box[2] = Math.max(box[2], x + 1);
    box[3] = Math.max(box[3], y + 1);
  };
  for (let k = 0; k < Math.max(points.length - 1, 1); k++) {
    const [sx, sy] = points[k];
    const [ex, ey] = points[Math.min(k + 1, points.length - 1)];
    const [dx, dy] = [ex - sx, ey - sy];
    const length = dx * dx + dy * dy || 1;
    const last = [Math.min(Math.max(sx, ex) + radius, width - 1), Math.min(Math.max(sy, ey) + radius, height - 1)];
    for (let y = Math.max(Math.ceil(Math.min(sy, ey) - radius), 0); y <= last[1]; y++) {
      for (let x = Math.max(Math.ceil(Math.min(sx, ex) - radius), 0); x <= last[0]; x++) {
        const [fx, fy] = [x - sx, y - sy];
        const along = Math.min(Math.max((fx * dx + fy * dy) / length, 0), 1);
        if ((fx - along * dx) ** 2 + (fy - along * dy) ** 2 <= radius * radius) put(x, y);
      }
    }
  }
  for (const point of points) {
    const [x, y] = point.map((value) => Math.floor(value + 0.5));
    if (x >= 0 && y >= 0 && x < width && y < height) put(x, y);
  }
  return box[2] > box[0] ? box : null;
}

// The border of a region as line segments between pixels, in pixels.
function border(labels, [height, width], value) {
  const path = new Path2D();
  const own = (x, y) => labels[y * width + x] === value;
  const line = (x, y, dx, dy) => {
    path.moveTo(x, y);
    path.lineTo(x + dx, y + dy);
  };
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const here = own(x, y);
      if (x + 1 < width && here !== own(x + 1, y)) line(x + 1, y, 0, 1);
      if (y + 1 < height && here !== own(x, y + 1)) line(x, y + 1, 1, 0);
    }
  }
  return path;
}

// ------------------------------------------------------------------------------------------ page elements

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// A group of radio buttons, one for each entry; arrow keys move between them, by hand since notebooks use them too.
function choice(name, legend, entries, chosen) {
  const steps = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 };
  const group = `${name}-${Math.random().toString(36).slice(2)}`;
  const inputs = {};
  const labels = entries.map(({ value, title, swatch, text }, k) => {
    inputs[value] = element("input", { type: "radio", name: group, value });
    inputs[value].addEventListener("change", () => chosen(value));
    inputs[value].addEventListener("keydown", (event) => {
      if (!(event.key in steps) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      const next = entries[(k + steps[event.key] + entries.length) % entries.length].value;
      inputs[next].checked = true;
      inputs[next].focus();
      chosen(next);
    });
    const colour = swatch ? [element("span", { className: "swatch", style: `background: ${swatch}` })] : [];
    const label = element("label", { title }, inputs[value], ...colour, element("span", { textContent: text }));
    // A notebook that sees the button go down takes the focus to its cell; the click comes all the same.
    label.addEventListener("pointerdown", (event) => event.preventDefault());
    label.addEventListener("click", () => inputs[value].focus({ preventScroll: true }));
    return label;
  });
  const box = element("fieldset", { className: name }, element("legend", { textContent: legend }), ...labels);
  return { box, inputs, show: (value) => inputs[value] && (inputs[value].checked = true) };
}

function range(text, properties, changed) {
  const input = element("input", { type: "range", ...properties });
  const told = element("output");
  input.addEventListener("input", () => changed(Number(input.value)));
  const box = element("label", { className: "range" }, element("span", { textContent: text }), input, told);
  const show = (value, words) => {
    input.value = value;
    told.textContent = words;
    input.setAttribute("aria-valuetext", words);
  };
  return { box, show };
}

function press(text, title, action) {
  const button = element("button", { type: "button", textContent: text, title, "aria-label": title });
  button.addEventListener("click", () => button.getAttribute("aria-disabled") !== "true" && action());
  return button;
}

// ------------------------------------------------------------------------------------------ the board

function render({ model, el }) {
  const shape = model.get("shape"); // height and width
  const [height, width] = shape;
  const names = model.get("names");
  const edge = model.get("edge");
  const scale = edge / Math.max(height, width); // screen pixels for one of the mask
  const words = (name) => name.replaceAll("_", " ");
  const store = (name, value) => {
    model.set(name, value);
    model.save_changes();
  };
  let sent = model.get("seen");
  const send = (content) => {
    sent = Math.max(sent, model.get("seen")) + 1;
    model.send({ ...content, id: sent });
  };
  const edit = (record) => send({ edit: record });
  const change = (record) => edit({ region: model.get("region"), ...record });

  // Controls.

  const tools = choice(
    "tools",
    "tool",
    Object.entries(TOOLS).map(([value, title]) => ({ value, title, text: value })),
    (value) => store("tool", value),
  );
  const regions = choice(
    "regions",
    "region",
    names.map((name, k) => ({ value: name, title: words(name), swatch: model.get("colours")[k], text: words(name) })),
    (value) => store("region", value),
  );
  const widest = Math.max(Math.round(Math.max(height, width) / 3), 2);
  const size = range("brush", { min: 1, max: widest, step: 1 }, (value) => store("brush", value));
  const opacity = range("opacity", { min: 0, max: 1, step: 0.05 }, (value) => store("opacity", value));
  const undo = press("↶", "undo (Ctrl-Z)", () => send({ do: "undo" }));
  const redo = press("↷", "redo (Ctrl-Y)", () => send({ do: "redo" }));
  const reset = press("reset", "reset the mask: undo everything", () => send({ do: "reset" }));
  const grow = press("grow", "grow the chosen region by a pixel (+)", () => change({ do: "grow" }));
  const shrink = press("shrink", "shrink the chosen region by a pixel (-)", () => change({ do: "shrink" }));
  const move = ([dx, dy]) => change({ do: "move", dx, dy });
  const arrows = Object.entries({ ArrowLeft: "←", ArrowUp: "↑", ArrowDown: "↓", ArrowRight: "→" }).map(([key, text]) =>
    press(text, `move the chosen region ${key.slice(5).toLowerCase()} by a pixel (arrow key)`, () => move(ARROWS[key])),
  );
  const help =
    "The mask over the picture. Paint with the pointer. Arrow keys move the chosen region by a pixel, with Shift by " +
    "five; plus and minus grow and shrink it; square brackets change the brush.";
  const canvas = element("canvas", { tabIndex: 0, role: "application", "aria-label": help });
  const dense = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * scale * dense);
  canvas.height = Math.round(height * scale * dense);
  canvas.style.maxWidth = `${width * scale}px`;
  const row = (...children) => element("div", { className: "row" }, ...children);
  const chosen = element("b");
  const root = element(
    "div",
    // JupyterLab's own shortcuts (Z undoes a cell) stay out of the board.
    { className: "swaplib-board", "data-lm-suppress-shortcuts": "true" },
    canvas,
    row(tools.box, element("span", { className: "gap" }), undo, redo, reset),
    row(size.box, opacity.box),
    regions.box,
    row(element("span", {}, chosen, ":"), grow, shrink, ...arrows),
  );
  el.append(root);

  // Drawing.

  const context = canvas.getContext("2d");
  const layer = element("canvas", { width, height });
  const ink = layer.getContext("2d", { willReadFrequently: true });
  const pixels = ink.createImageData(width, height);
  const rgba = new Uint32Array(pixels.data.buffer);
  const colours = model.get("colours").map((colour) => {
    const [r, g, b] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
    return new Uint32Array(new Uint8Array([r, g, b, 255]).buffer)[0];
  });
  const picture = new Image();
  let labels = new Uint8Array(width * height);
  let edges = new Path2D();
  let waiting = []; // strokes that Python has not answered yet
  let current = null; // the one under the pointer
  let pointer = null; // where the pointer is, in pixels of the mask
  let asked = false;

  function paint() {
    asked = false;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.imageSmoothingEnabled = true;
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (picture.complete && picture.naturalWidth) context.drawImage(picture, 0, 0, canvas.width, canvas.height);
    context.imageSmoothingEnabled = false;
    context.globalAlpha = model.get("opacity");
    context.drawImage(layer, 0, 0, canvas.width, canvas.height);
    context.globalAlpha = 1;
    // From here on in pixels of the mask, whose first centre is at (0, 0).
    const zoom = scale * dense;
    context.setTransform(zoom, 0, 0, zoom, 0, 0);
    context.lineCap = "round";
    const trace = (path) => {
      for (const [colour, thick] of [["rgba(255,255,255,.85)", 2.6], ["#16202a", 1.1]]) {
        context.strokeStyle = colour;
        context.lineWidth = thick / scale;
        context.stroke(path);
      }
    };
    if (!current && !waiting.length) trace(edges);
    for (const outline of [...waiting, current].filter((one) => one?.do === "paint")) {
      const path = new Path2D();
      for (const [x, y] of outline.points) path.lineTo(x + 0.5, y + 0.5);
      if (outline !== current) path.closePath();
      context.fillStyle = model.get("colours")[outline.value];
      context.globalAlpha = 0.6;
      context.fill(path, "evenodd");
      context.globalAlpha = 1;
      trace(path);
    }
    if (pointer && model.get("tool") === "brush") {
      const ring = new Path2D();
      ring.arc(pointer[0] + 0.5, pointer[1] + 0.5, Math.max(model.get("brush") / 2, 0.5), 0, 2 * Math.PI);
      trace(ring);
    }
  }
  function redraw() {
    if (!asked) requestAnimationFrame(paint);
    asked = true;
  }
  function colour([left, top, right, bottom]) {
    for (let y = top; y < bottom; y++) {
      for (let at = y * width + left; at < y * width + right; at++) rgba[at] = colours[labels[at]];
    }
    ink.putImageData(pixels, 0, 0, left, top, right - left, bottom - top);
  }
  function lay({ value, points, width: brush }, from = 0) {
    const box = stroke(labels, shape, value, points.slice(from), brush);
    if (box) colour(box);
  }
  function outlineRegion() {
    edges = border(labels, shape, names.indexOf(model.get("region")));
  }

  // What Python says.

  function receive() {
    waiting = waiting.filter((one) => one.id > model.get("seen"));
    labels = unpack(model.get("mask"), width * height);
    colour([0, 0, width, height]);
    for (const one of [...waiting, current]) if (one?.do === "stroke") lay(one);
    outlineRegion();
    const present = new Set(labels);
    names.forEach((name, k) => regions.inputs[name].parentElement.classList.toggle("absent", !present.has(k)));
    redraw();
  }
  function show() {
    tools.show(model.get("tool"));
    regions.show(model.get("region"));
    chosen.textContent = words(model.get("region"));
    size.show(model.get("brush"), `${model.get("brush")} px`);
    opacity.show(model.get("opacity"), `${Math.round(100 * model.get("opacity"))} %`);
    undo.setAttribute("aria-disabled", !model.get("can_undo"));
    reset.setAttribute("aria-disabled", !model.get("can_undo"));
    redo.setAttribute("aria-disabled", !model.get("can_redo"));
    canvas.dataset.tool = model.get("tool");
    outlineRegion();
    redraw();
  }
  function backdrop() {
    const address = URL.createObjectURL(new Blob([model.get("picture")], { type: "image/jpeg" }));
    picture.onload = () => {
      URL.revokeObjectURL(address);
      redraw();
    };
    picture.src = address;
  }

  // What the pointer and the keys do.

  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
    return [round(x * width - 0.5), round(y * height - 0.5)];
  };
  const label = ([x, y]) => labels[Math.floor(y + 0.5) * width + Math.floor(x + 0.5)];

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || current) return;
    event.preventDefault();
    canvas.focus({ preventScroll: true });
    const point = place(event);
    const tool = event.altKey ? "pick" : model.get("tool");
    const value = names.indexOf(model.get("region"));
    if (tool === "pick") {
      if (label(point) !== undefined) store("region", names[label(point)]);
    } else if (tool === "fill") {
      change({ do: "fill", point });
    } else {
      canvas.setPointerCapture(event.pointerId);
      current = { do: tool === "brush" ? "stroke" : "paint", value, points: [point], width: model.get("brush") };
      if (current.do === "stroke") lay(current);
    }
    redraw();
  });
  canvas.addEventListener("pointermove", (event) => {
    pointer = place(event);
    const passed = event.getCoalescedEvents?.() ?? [];
    for (const step of current ? (passed.length ? passed : [event]) : []) {
      const point = place(step);
      const [x, y] = current.points.at(-1);
      if (Math.hypot(point[0] - x, point[1] - y) < 0.4) continue;
      current.points.push(point);
      if (current.do === "stroke") lay(current, current.points.length - 2);
    }
    redraw();
  });
  canvas.addEventListener("pointerup", () => {
    const { do: what, value, points, width: brush } = current ?? {};
    if (what === "stroke") edit({ do: what, region: names[value], points, width: brush });
    if (what === "paint" && points.length > 2) edit({ do: what, region: names[value], polygon: points });
    if (what === "stroke" || points?.length > 2) waiting.push({ ...current, id: sent });
    current = null;
    redraw();
  });
  const abandon = () => {
    if (!current) return;
    current = null;
    receive();
  };
  canvas.addEventListener("pointercancel", abandon);
  canvas.addEventListener("pointerleave", () => {
    pointer = null;
    redraw();
  });
  canvas.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const steps = event.shiftKey ? 5 : 1;
    const brush = model.get("brush");
    if (event.key in ARROWS) move(ARROWS[event.key].map((step) => steps * step));
    else if (event.key === "+" || event.key === "=") change({ do: "grow" });
    else if (event.key === "-") change({ do: "shrink" });
    else if (event.key === "[") store("brush", Math.max(brush - 1, 1));
    else if (event.key === "]") store("brush", Math.min(brush + 1, widest));
    else if (event.key === "Escape") abandon();
    else return;
    event.preventDefault();
  });
  root.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
    const key = event.key.toLowerCase();
    if (key !== "z" && key !== "y") return;
    event.preventDefault();
    send({ do: key === "y" || event.shiftKey ? "redo" : "undo" });
  });

  // Several values of an update change at once, but are answered once.
  const together = (action) => {
    let due = false;
    return () => {
      if (!due) queueMicrotask(() => ((due = false), action()));
      due = true;
    };
  };
  const [received, shown] = [together(receive), together(show)];
  const listened = { "change:seen": received, "change:mask": received, "change:picture": backdrop };
  for (const name of ["tool", "region", "brush", "opacity", "can_undo", "can_redo"]) listened[`change:${name}`] = shown;
  for (const [name, action] of Object.entries(listened)) model.on(name, action);
  receive();
  show();
  backdrop();
  return () => {
    for (const [name, action] of Object.entries(listened)) model.off(name, action);
  };
}

export default { render };
