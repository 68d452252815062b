// What the widgets of an app don't do by themselves: names for screen readers, and pictures that are dropped on a face's
// controls or pasted there. And while the app is shown, the still picture beside it is not. The app's look is studio.css.

// Write an attribute only where it differs, so that observing the app comes to rest.
const put = (element, name, value) => {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
};

function tell(root, told) {
  for (const slider of root.querySelectorAll(".widget-hslider")) {
    const label = slider.querySelector(".widget-label");
    const name = label?.title || label?.textContent || "";
    for (const handle of slider.querySelectorAll(".noUi-handle")) put(handle, "aria-label", name);
    const number = slider.querySelector(".widget-readout");
    if (number) put(number, "aria-label", `${name}: type a number`);
    if (number) put(number, "role", "textbox");
  }
  for (const button of root.querySelectorAll("button.swaplib-icon")) put(button, "aria-label", button.title);
  for (const button of root.querySelectorAll("button.swaplib-fold")) {
    put(button, "aria-expanded", String(!button.classList.contains("swaplib-folded")));
  }
  for (const [name, text] of Object.entries(told)) {
    for (const image of root.querySelectorAll(`img.swaplib-${name}`)) put(image, "alt", text);
  }
  for (const line of root.querySelectorAll(".swaplib-status")) {
    put(line, "role", "status");
    put(line, "aria-live", "polite");
  }
}

// Send a picture file that was dropped or pasted, with the face's role, which its box has in a class.
const faces = "[class*='swaplib-for-']";
async function take(event, model) {
  const box = event.target.closest(faces);
  const file = [...((event.clipboardData ?? event.dataTransfer)?.files ?? [])][0];
  if (!box || !file) return;
  event.preventDefault();
  event.stopPropagation();
  const role = [...box.classList].find((name) => name.startsWith("swaplib-for-")).replace("swaplib-for-", "");
  const { name, size } = file;
  model.send({ do: "take", role, name, size }, {}, size > model.get("most") ? [] : [await file.arrayBuffer()]);
}

export default {
  render({ model, el }) {
    let root = null;
    let due = false;
    const act = () => {
      due = false;
      if (root) tell(root, model.get("told"));
    };
    const soon = () => {
      if (!due) requestAnimationFrame(act);
      due = true;
    };
    const watcher = new MutationObserver(soon);
    const listening = new AbortController();
    const { signal } = listening;
    // The page takes this element up after it is made.
    const begin = () => {
      root = el.closest(".swaplib-app");
      if (!root) return;
      clearInterval(waiting);
      for (const what of ["paste", "drop"]) root.addEventListener(what, (event) => take(event, model), { signal });
      root.addEventListener("dragover", (event) => event.target.closest(faces) && event.preventDefault(), { signal });
      watcher.observe(root, { childList: true, subtree: true, attributes: true, attributeFilter: ["class", "title"] });
      act();
    };
    const waiting = setInterval(begin, 50);
    // The still picture beside the app is for readers without it.
    const hiding = document.createElement("style");
    hiding.textContent = `.swaplib-still-${model.get("key")} { display: none }`;
    document.head.append(hiding);
    model.on("change:told", soon);
    model.send({ do: "begin" });
    return () => {
      clearInterval(waiting);
      watcher.disconnect();
      listening.abort();
      hiding.remove();
      model.off("change:told", soon);
    };
  },
};
