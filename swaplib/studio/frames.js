// Sliders and the frames that they move through. A strip (strip.py) holds all of its frames from the start; the
// studio's screen (screen.py) gets them from the kernel, those beside a resting slider ahead of time.

// Frames by key. Shown is the one of where the sliders stand, as soon as it is known.
class Frames {
  constructor(show, room = Infinity, drop = () => {}) {
    Object.assign(this, { show, room, drop, known: new Map(), here: null, shown: null, own: null });
  }
  move(key) {
    this.here = key;
    if (key !== this.shown && this.known.has(key)) this.draw(key);
  }
  // The oldest frames go first, but never the shown one, nor the kernel's own, which it won't send twice.
  add(key, frame) {
    if (this.known.has(key)) this.drop(this.known.get(key));
    this.known.delete(key);
    this.known.set(key, frame);
    for (const [old, one] of this.known) {
      if (this.known.size <= this.room) break;
      if ([key, this.own, this.shown].includes(old)) continue;
      this.known.delete(old);
      this.drop(one);
    }
    if (key === this.here || key === this.shown) this.draw(key);
  }
  // What the kernel draws for its state always counts, unless the sliders have moved on to a frame that is shown by now.
  settle(key, frame) {
    this.own = key;
    this.add(key, frame);
    if (this.shown !== this.here) this.draw(key);
  }
  draw(key) {
    this.shown = key;
    this.show(this.known.get(key));
  }
}

// Bring a strip to life. Some of its frames are pictures, for readers without scripts; the others are text.
function play(strip) {
  if (strip.played) return;
  strip.played = true;
  const [input, output, data] = ["input", "output", "script"].map((tag) => strip.querySelector(tag));
  const { values, type, frames } = JSON.parse(data.textContent);
  const rows = [...strip.querySelectorAll(".moving")].map((figure) => [...figure.querySelectorAll("img")]);
  const columns = values.map((_, at) => frames.map((row) => type + row[at]));
  rows.forEach(([, ...stills], k) => {
    for (const still of stills) {
      columns[still.dataset.at][k] = still.src;
      still.hidden = true;
    }
  });
  const known = new Frames((column) => column.forEach((address, k) => (rows[k][0].src = address)));
  columns.forEach((column, at) => known.add(at, column));
  const move = () => {
    const value = values[input.value];
    output.textContent = value;
    input.setAttribute("aria-valuetext", value);
    for (const [image] of rows) image.alt = `${image.dataset.name}, ${value}`;
    known.move(+input.value);
  };
  input.addEventListener("input", move);
  for (const one of strip.querySelectorAll("[data-live]")) one.hidden = false;
  move();
}

// ------------------------------------------------------------------------------------------ the studio's screen

// As `screen.make_key`.
const position = (value) => Math.floor(value * 1e6 + 0.5);

export default () => {
  const images = new Set();
  let shown = "";
  const show = (address) => {
    shown = address;
    for (const image of images) image.src = address;
  };
  const wrap = (bytes) => URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" }));

  async function initialize({ model }) {
    const frames = new Frames(show, model.get("room"), URL.revokeObjectURL);
    const find = (reference) => model.widget_manager.get_model(reference.replace("IPY_MODEL_", ""));
    const [sliders, groups] = await Promise.all(["sliders", "groups"].map((k) => Promise.all(model.get(k).map(find))));
    const here = () => [
      model.get("key").split(" ")[0],
      ...sliders.map((slider) => position(slider.get("value"))),
    ].join(" ");

    // A person's move is followed at once; the kernel may move several sliders, and shows its own frame.
    const follow = () => frames.move(here());
    for (const slider of sliders) {
      slider.on("change:value", (_, value, how) => (how?.updated_view ? follow() : requestAnimationFrame(follow)));
    }
    // A group's slider follows its parts, but when a person moves it, they follow it.
    model.get("members").forEach((members, k) =>
      groups[k].on("change:value", (_, value, how) => {
        if (!how?.updated_view) return;
        for (const at of members) sliders[at].set("value", value);
        follow();
      }),
    );

    let due = false;
    const receive = () => {
      due = false;
      frames.here = here();
      frames.settle(model.get("key"), wrap(model.get("value")));
    };
    const soon = () => {
      if (!due) queueMicrotask(receive);
      due = true;
    };
    model.on("change:key", soon);
    model.on("change:value", soon);

    let asked = false;
    model.on("msg:custom", (content, buffers) => {
      if (content.key) frames.add(content.key, wrap(buffers[0]));
      if (!content.offer) asked = false;
      if (!asked && (content.offer || content.key)) {
        asked = true;
        model.send({ do: "more" });
      }
    });
    receive();
    model.send({ do: "begin" });
  }

  function render({ model, el }) {
    const image = document.createElement("img");
    const width = model.get("width");
    Object.assign(image, { className: "swaplib-picture", alt: "the picture", src: shown, width, height: width });
    el.append(image);
    images.add(image);
    return () => images.delete(image);
  }

  return { initialize, render };
};
