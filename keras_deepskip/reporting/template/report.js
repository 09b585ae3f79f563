"use strict";
// The report's own script: gallery, tables, theme. Texts of files and names are set as text only.
(() => {
  const $ = (id) => document.getElementById(id);
  const read = (id) => JSON.parse($(id).textContent);
  const SVG = "http://www.w3.org/2000/svg";
  const element = (name, attributes = {}, ...children) => {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };
  const shape = (name, attributes = {}) => {
    const made = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  // ---- Light and dark ---------------------------------------------------------------------------

  const root = document.documentElement;
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefersDark.matches);
  const showTheme = () => {
    $("theme").textContent = isDark() ? "Light" : "Dark";
    $("theme").setAttribute("aria-label", isDark() ? "Light colours" : "Dark colours");
  };
  const memory = (value) => {
    try { // a page that is a file may have no storage
      if (value) localStorage.setItem("theme", value);
      return localStorage.getItem("theme");
    } catch { return null; }
  };
  if (["light", "dark"].includes(memory())) root.dataset.theme = memory();
  $("theme").removeAttribute("aria-pressed");
  $("theme").addEventListener("click", () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    memory(root.dataset.theme);
    showTheme();
  });
  prefersDark.addEventListener("change", showTheme);
  showTheme();

  // ---- Tables: sorted, copied, downloaded --------------------------------------------------------

  const valueOf = (cell) => (cell.dataset.v === undefined ? cell.textContent : cell.dataset.v);
  const compare = (a, b) => {
    if (a === "" || b === "") return (a === "") - (b === ""); // what is not known comes last
    const [x, y] = [Number(a), Number(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, "en", { numeric: true }) : x - y;
  };
  const sortBy = (table, column) => {
    const head = table.tHead.rows[0].cells[column];
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...table.tBodies[0].rows].map((row) => [valueOf(row.cells[column]), row]);
    rows.sort(([a], [b]) => {
      if (a === "" || b === "") return compare(a, b);
      return down ? compare(b, a) : compare(a, b);
    });
    table.tBodies[0].append(...rows.map(([, row]) => row));
  };
  const linesOf = (table, quote, between) => {
    const names = [...table.tHead.rows[0].cells].map((cell) => cell.textContent.trim());
    const rows = [...table.tBodies[0].rows].map((row) => [...row.cells].map(valueOf));
    return [names, ...rows].map((row) => row.map(quote).join(between)).join("\n") + "\n";
  };
  const forCsv = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const copied = async (button, text) => {
    let done = true;
    try { await navigator.clipboard.writeText(text); } catch { // where a page may not, as before
      const area = element("textarea", { class: "hidden" });
      area.value = text;
      document.body.append(area);
      area.select();
      done = document.execCommand("copy");
      area.remove();
    }
    const before = button.textContent;
    button.textContent = done ? "Copied" : "Not copied";
    setTimeout(() => { button.textContent = before; }, 1500);
  };
  for (const card of document.querySelectorAll(".table")) {
    const table = card.querySelector("table");
    [...table.tHead.rows[0].cells].forEach((cell, column) => {
      const first = table.tBodies[0].rows[0];
      if (first && first.cells[column].classList.contains("n")) cell.classList.add("n");
      cell.firstElementChild.addEventListener("click", () => sortBy(table, column));
    });
    card.querySelector(".copy").addEventListener("click", (event) => {
      copied(event.currentTarget, linesOf(table, (text) => text.replace(/[\t\n\r]/g, " "), "\t"));
    });
    card.querySelector(".csv").addEventListener("click", () => {
      const content = new Blob([linesOf(table, forCsv, ",")], { type: "text/csv" });
      const link = element("a", { href: URL.createObjectURL(content) });
      link.download = `${card.dataset.name}.csv`;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
  }
  for (const button of document.querySelectorAll(".copy-command")) {
    button.addEventListener("click", () => copied(button, button.previousElementSibling.textContent));
  }

  // ---- Curves ------------------------------------------------------------------------------------

  const drawCharts = () => {
    const specs = read("chart-data");
    // Vega's own tooltip would put names of images into the page as HTML.
    const told = element("dl", { id: "chart-tip", class: "tip", hidden: "" });
    document.body.append(told);
    const tooltip = (_, event, item, values) => {
      told.hidden = !values;
      if (!values) return;
      const pairs = typeof values === "object" ? Object.entries(values) : [["", values]];
      told.replaceChildren(...pairs.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, String(value))]));
      told.style.left = `${clamp(event.clientX + 14, 0, innerWidth - told.offsetWidth)}px`;
      told.style.top = `${clamp(event.clientY + 14, 0, innerHeight - told.offsetHeight)}px`;
    };
    const options = {
      mode: "vega-lite", renderer: "svg", actions: false, ast: true, defaultStyle: false, tooltip,
    };
    const idle = window.requestIdleCallback ?? ((act) => setTimeout(act, 50));
    const left = [...document.querySelectorAll(".chart")];
    const draw = () => { // one after the other, so that the page answers meanwhile
      const box = left.shift();
      if (!box) return;
      vegaEmbed(box, specs[box.dataset.spec], options)
        .catch((error) => { box.textContent = `This curve could not be drawn: ${error}`; })
        .finally(() => idle(draw));
    };
    idle(draw);
  };
  if (document.querySelector(".chart")) addEventListener("DOMContentLoaded", drawCharts);

  // ---- Gallery -----------------------------------------------------------------------------------

  if (!$("gallery")) return;
  const gallery = read("gallery-data");
  // Kinds of objects, as the package numbers them: true ones found and missed; predicted ones right
  // and false; predicted ones whose truth is not known.
  const KINDS = ["found", "missed", "right", "false", "predicted"];
  const VIEWS = gallery.judged
    ? { result: [0, 1, 3, 4], compare: [0, 1, 2, 3, 4], truth: [0, 1], prediction: [2, 3, 4], image: [] }
    : { prediction: [2, 3, 4], image: [] };
  const NAMES = {
    result: "Result", compare: "Compare", truth: "Truth", prediction: "Prediction", image: "Image",
  };
  const HUES = ["#56b4e9", "#e69f00", "#009e73", "#f0e442", "#cc79a7", "#d55e00", "#0072b2", "#ffffff"];
  const classNames = Object.fromEntries(gallery.classes);
  const state = { view: Object.keys(VIEWS)[0], order: [], at: 0, box: null, lit: null };
  const current = () => gallery.images[state.order[state.at]];
  const picture = $("picture"), stage = $("stage"), tip = $("tip");

  // Filters, and the order of the images

  const chosen = (id) => ($(id).value === "" ? null : Number($(id).value));
  const fits = (classId, size) =>
    (chosen("class") ?? classId) === classId && (chosen("size") ?? size) === size;
  const countsOf = (image) => {
    const sums = [0, 0, 0, 0];
    for (const [classId, size, ...counts] of image.counts) {
      if (fits(classId, size)) counts.forEach((count, place) => { sums[place] += count; });
    }
    const [found, missed, wrong, others] = sums;
    const all = 2 * found + missed + wrong;
    return { found, missed, wrong, others, all: all + others, f1: all ? (2 * found) / all : 1 };
  };
  const filtered = () => chosen("class") !== null || chosen("size") !== null;
  // As the package does: the mean of object F1 and pixel IoU; of chosen objects their F1 alone.
  const scoreOf = (image) => {
    if (image.iou === null) return 2;
    return filtered() ? countsOf(image).f1 : (countsOf(image).f1 + image.iou) / 2;
  };
  const text = (a, b) => a.name.localeCompare(b.name, "en", { numeric: true });
  const SORTS = {
    "worst first": (a, b) => scoreOf(a) - scoreOf(b) || countsOf(b).all - countsOf(a).all || text(a, b),
    "best first": (a, b) => -SORTS["worst first"](a, b),
    "most missed": (a, b) => countsOf(b).missed - countsOf(a).missed || text(a, b),
    "most false": (a, b) => countsOf(b).wrong - countsOf(a).wrong || text(a, b),
    "most objects": (a, b) => countsOf(b).all - countsOf(a).all || text(a, b),
    name: text,
  };
  const sorts = gallery.judged ? Object.keys(SORTS) : ["most objects", "name"];
  $("sort").append(...sorts.map((name) => element("option", { value: name }, name)));

  const summary = (image) => {
    const { found, missed, wrong, others } = countsOf(image);
    if (image.iou === null) return `${others} predicted`;
    return `${found} found, ${missed} missed, ${wrong} false`;
  };
  const arrange = () => {
    state.order = gallery.images.map((_, index) => index)
      .filter((index) => !filtered() || countsOf(gallery.images[index]).all > 0)
      .sort((a, b) => SORTS[$("sort").value](gallery.images[a], gallery.images[b]));
    state.at = 0;
    $("strip").replaceChildren(...state.order.map(entry));
    const images = `${state.order.length} image${state.order.length === 1 ? "" : "s"}`;
    $("told").textContent = filtered() ? `${images} with such objects.` : `${images} shown.`;
    show();
  };
  const entry = (index, place) => {
    const image = gallery.images[index];
    const label = `${image.name}: ${summary(image)}`;
    const thumb = element("img", { alt: "", loading: "lazy", width: 120, height: 120 });
    thumb.src = image.mini ?? image.picture;
    const name = element("span", { class: "name" }, image.name);
    const counts = element("span", { class: "counts" }, summary(image));
    const button = element("button", { type: "button", "aria-label": label, title: label }, thumb, name, counts);
    button.addEventListener("click", () => go(place));
    return element("li", {}, button);
  };

  // The picture

  const layers = {};
  const show = () => {
    tip.hidden = true;
    state.lit = null;
    const image = current();
    picture.replaceChildren();
    [...$("strip").children].forEach((item, place) => {
      item.firstChild.toggleAttribute("aria-current", false);
      if (place === state.at) item.firstChild.setAttribute("aria-current", "true");
    });
    if (!image) {
      $("caption").textContent = "No image has such objects.";
      return;
    }
    const world = shape("g");
    const shown = shape("image", { width: image.width, height: image.height });
    shown.setAttribute("href", image.picture);
    shown.id = "shown";
    world.append(shown);
    for (const side of ["predicted", "true"]) {
      const clip = shape("clipPath", { id: `clip-${side}` });
      layers[`${side}Clip`] = shape("rect", { x: 0, y: 0, width: image.width, height: image.height });
      clip.append(layers[`${side}Clip`]);
      layers[side] = shape("g", { "clip-path": `url(#clip-${side})` });
      world.append(clip, layers[side]);
    }
    layers.divide = shape("line", { class: "divide", y1: 0, y2: image.height });
    world.append(layers.divide);
    picture.append(world);
    lighten();
    fit();
    drawObjects();
    const [height, width] = image.sizes;
    const whole = image.width === width && image.height === height;
    const part = whole ? "" : ` (${image.width} × ${image.height} of ${width} × ${height} pixels)`;
    const iou = image.iou === null ? "" : `, pixel IoU ${image.iou.toFixed(3)}`;
    const said = `${image.name}${part}: ${summary(image)}${iou}.`;
    $("caption").replaceChildren(said);
    if (image.whole) {
      const link = element("a", { href: encodeURI(image.whole).replaceAll("?", "%3F").replaceAll("#", "%23") });
      link.textContent = "The whole image";
      $("caption").append(" ", link, " is in a file beside this page.");
    }
    picture.setAttribute("aria-label", said);
    stage.setAttribute("aria-label", `Picture of ${image.name}`);
  };
  const drawObjects = () => {
    const image = current();
    if (!image) return;
    const kinds = VIEWS[state.view], own = $("own").checked;
    const sides = { true: shape("g"), predicted: shape("g") };
    const casing = { true: "", predicted: "" };
    const order = image.objects.map((_, index) => index);
    order.sort((a, b) => image.objects[b][3] - image.objects[a][3]); // small ones above large ones
    const marks = { true: [], predicted: [] };
    for (const index of order) {
      const [kind, classId, size, , , , x, y, path] = image.objects[index];
      if (!kinds.includes(kind) || !fits(classId, size)) continue;
      const side = kind < 2 ? "true" : "predicted";
      const line = shape("path", { class: `object k${kind}`, d: path, "data-i": index });
      if (own) {
        const hue = HUES[index % HUES.length];
        line.setAttribute("style", `stroke:${hue};fill:color-mix(in srgb, ${hue} 35%, transparent)`);
      }
      casing[side] += path;
      sides[side].append(line);
      if (kind === 1 || kind === 3) marks[side].push([kind, x, y]);
    }
    for (const side of Object.keys(sides)) {
      sides[side].prepend(shape("path", { class: "casing", d: casing[side] }));
      for (const [kind, x, y] of marks[side]) {
        const form = kind === 1 ? "M-4.5-5h9l-4.5 8z" : "M0-5l5 5-5 5-5-5z";
        sides[side].append(shape("path", { class: `marker k${kind}`, d: form, "data-x": x, "data-y": y }));
      }
      layers[side].replaceChildren(...sides[side].childNodes);
    }
    divide();
    placeMarks();
  };
  const divide = () => {
    const image = current();
    if (!image) return;
    const comparing = state.view === "compare";
    const box = state.box, at = box.x + (box.width * Number($("wipe").value)) / 100;
    const cut = clamp(at, 0, image.width);
    layers.trueClip.setAttribute("width", comparing ? cut : image.width);
    layers.predictedClip.setAttribute("x", comparing ? cut : 0);
    layers.predictedClip.setAttribute("width", comparing ? image.width - cut : image.width);
    layers.divide.setAttribute("visibility", comparing ? "visible" : "hidden");
    layers.divide.setAttribute("x1", cut);
    layers.divide.setAttribute("x2", cut);
  };

  const lighten = () => { $("shown").style.filter = `brightness(${$("light").value})`; };
  $("light").addEventListener("input", () => { if (current()) lighten(); });

  // Zoom and pan: the part of the image that the stage shows

  const scale = () => stage.clientWidth / state.box.width; // pixels of the screen for one of the image
  const placeMarks = () => {
    const unit = parseFloat(getComputedStyle(root).fontSize) / 16 / scale();
    for (const mark of picture.querySelectorAll(".marker")) {
      const { x, y } = mark.dataset;
      mark.setAttribute("transform", `translate(${x} ${y - 7 * unit}) scale(${unit})`);
    }
  };
  const look = (x, y, width) => {
    const image = current();
    if (!image) return;
    const ratio = stage.clientHeight / Math.max(stage.clientWidth, 1);
    const whole = Math.max(image.width, image.height / ratio);
    width = clamp(width, Math.min(8, whole), whole);
    const height = width * ratio;
    const free = (at, length, all) => (length >= all ? (all - length) / 2 : clamp(at, 0, all - length));
    state.box = { x: free(x, width, image.width), y: free(y, height, image.height), width, height };
    picture.setAttribute("viewBox", `${state.box.x} ${state.box.y} ${width} ${height}`);
    stage.classList.toggle("zoomed", width < whole - 1e-6);
    placeMarks();
    divide();
  };
  const fit = () => { state.box = { x: 0, y: 0, width: 1, height: 1 }; look(0, 0, Infinity); };
  const zoom = (factor, share = [0.5, 0.5]) => {
    const { x, y, width, height } = state.box, wide = width / factor;
    const tall = wide * (height / width);
    look(x + (width - wide) * share[0], y + (height - tall) * share[1], wide);
  };
  const move = (across, down) => {
    const { x, y, width, height } = state.box;
    look(x + across * width, y + down * height, width);
  };
  const shareOf = (event) => {
    const box = stage.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };
  $("in").addEventListener("click", () => zoom(1.5));
  $("out").addEventListener("click", () => zoom(1 / 1.5));
  $("fit").addEventListener("click", fit);
  $("full").addEventListener("click", () => zoom(1 / scale()));
  stage.addEventListener("wheel", (event) => {
    if (!(event.ctrlKey || event.metaKey || document.activeElement === stage)) return;
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 300), shareOf(event));
  }, { passive: false });
  new ResizeObserver(() => { if (current()) look(state.box.x, state.box.y, state.box.width); }).observe(stage);

  const pointers = new Map();
  let dragged = false;
  stage.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    dragged = false;
  });
  const apart = () => {
    const [a, b] = [...pointers.values()];
    return Math.hypot(a[0] - b[0], a[1] - b[1]);
  };
  stage.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) { hover(event); return; }
    const steps = [event.clientX - before[0], event.clientY - before[1]];
    if (!dragged && Math.hypot(...steps) < 4) return;
    dragged = true;
    stage.classList.add("held");
    if (pointers.size === 2) {
      const distance = apart();
      pointers.set(event.pointerId, [event.clientX, event.clientY]);
      zoom(apart() / Math.max(distance, 1), shareOf(event));
      return;
    }
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
    move(-steps[0] / stage.clientWidth, -steps[1] / stage.clientHeight);
  });
  const released = (event) => {
    if (pointers.delete(event.pointerId) && !dragged) hover(event);
    stage.classList.remove("held");
  };
  addEventListener("pointerup", released);
  addEventListener("pointercancel", released);
  stage.addEventListener("pointerleave", () => { if (!state.lit) tip.hidden = true; });

  // What is told of an object

  const describe = (index) => {
    const [kind, classId, , area, probability, iou] = current().objects[index];
    const lines = [gallery.classes.length > 1 ? `${KINDS[kind]}: ${classNames[classId]}` : KINDS[kind]];
    lines.push(`area ${area.toLocaleString("en")} pixels`);
    if (probability !== null) lines.push(`probability ${probability.toFixed(2)}`);
    if (iou !== null) lines.push(`IoU ${iou.toFixed(2)}`);
    return lines.join("\n");
  };
  const tell = (index, x, y) => {
    tip.textContent = describe(index);
    tip.hidden = false;
    tip.style.left = `${clamp(x + 14, 0, Math.max(stage.clientWidth - tip.offsetWidth, 0))}px`;
    tip.style.top = `${clamp(y + 14, 0, Math.max(stage.clientHeight - tip.offsetHeight, 0))}px`;
  };
  const unlight = () => {
    picture.querySelector(".lit")?.classList.remove("lit");
    state.lit = null;
  };
  const hover = (event) => {
    const object = event.target.closest?.(".object");
    if (!object || !picture.contains(object)) { if (!state.lit) tip.hidden = true; return; }
    unlight();
    const box = stage.getBoundingClientRect();
    tell(Number(object.dataset.i), event.clientX - box.left, event.clientY - box.top);
  };
  const step = (by) => {
    const shown = [...picture.querySelectorAll(".object")];
    if (!shown.length) return;
    const place = (element) => current().objects[element.dataset.i];
    shown.sort((a, b) => place(a)[7] - place(b)[7] || place(a)[6] - place(b)[6]);
    const at = shown.indexOf(state.lit);
    const next = shown[(at + by + shown.length + (at < 0 && by < 0 ? 1 : 0)) % shown.length];
    unlight();
    state.lit = next;
    next.classList.add("lit");
    const [, , , , , , x, y] = place(next), box = state.box;
    if (x < box.x || x > box.x + box.width || y < box.y || y > box.y + box.height) {
      look(x - box.width / 2, y - box.height / 2, box.width);
    }
    tell(Number(next.dataset.i), (x - state.box.x) * scale(), (y - state.box.y) * scale());
    $("spoken").textContent = describe(Number(next.dataset.i)).replaceAll("\n", ", ");
  };

  // What is chosen

  const go = (place) => {
    if (!state.order.length) return;
    state.at = (place + state.order.length) % state.order.length;
    show();
    const strip = $("strip"), item = strip.children[state.at];
    strip.scrollTo({ left: item.offsetLeft - strip.offsetLeft - 60, top: item.offsetTop - strip.offsetTop - 60 });
  };
  const view = (name) => {
    state.view = name;
    for (const button of $("views").children) {
      const on = button.dataset.view === name;
      button.setAttribute("aria-checked", on);
      button.tabIndex = on ? 0 : -1;
    }
    tip.hidden = true;
    drawObjects();
  };
  $("views").append(...Object.keys(VIEWS).map((name) => {
    const button = element("button", { type: "button", role: "radio", "data-view": name }, NAMES[name]);
    button.addEventListener("click", () => view(name));
    return button;
  }));
  $("views").addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const names = Object.keys(VIEWS);
    view(names[(names.indexOf(state.view) + by + names.length) % names.length]);
    $("views").querySelector('[aria-checked="true"]').focus();
  });
  $("wipes").hidden = !gallery.judged;
  $("wipe").addEventListener("input", () => {
    if (state.view !== "compare") view("compare");
    $("wipe").setAttribute("aria-valuetext", `${$("wipe").value} % truth`);
    divide();
  });
  $("own").addEventListener("change", drawObjects);
  for (const id of ["sort", "size", "class"]) $(id).addEventListener("change", arrange);
  $("before").addEventListener("click", () => go(state.at - 1));
  $("after").addEventListener("click", () => go(state.at + 1));
  const KEYS = {
    ArrowLeft: () => move(-0.1, 0), ArrowRight: () => move(0.1, 0),
    ArrowUp: () => move(0, -0.1), ArrowDown: () => move(0, 0.1),
    "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: fit,
    n: () => step(1), p: () => step(-1), PageDown: () => go(state.at + 1), PageUp: () => go(state.at - 1),
    Escape: () => { unlight(); tip.hidden = true; },
  };
  stage.addEventListener("keydown", (event) => {
    const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey || !current()) return;
    event.preventDefault();
    act();
  });
  arrange();
  view(state.view);
})();
