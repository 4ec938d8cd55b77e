// This script moves what Python drew. Positions, numbers and words come from the data of each section.

function make(name, attributes, text = "") {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}

// The steps between the candidates on the frontier of the two figures that are shown.
function steps(placed, lessX, lessY) {
  const a = (p) => (lessX ? p.a : -p.a);
  const b = (p) => (lessY ? p.b : -p.b);
  const best = [];
  for (const one of [...placed].sort((p, q) => a(p) - a(q) || b(p) - b(q)))
    if (!best.length || b(one) < b(best.at(-1))) best.push(one);
  best.sort((p, q) => p.x - q.x);
  return best.slice(1).flatMap((q, i) => {
    const p = best[i];
    const level = lessX ? p.y : q.y;
    const upright = lessX ? q.x : p.x;
    return [
      make("line", { x1: `${p.x}%`, x2: `${q.x}%`, y1: `${level}%`, y2: `${level}%` }),
      make("line", { x1: `${upright}%`, x2: `${upright}%`, y1: `${p.y}%`, y2: `${q.y}%` }),
    ];
  });
}

const SIDES = [
  { dy: -12, dx: 0, anchor: "middle" }, { dy: 20, dx: 0, anchor: "middle" },
  { dy: 4, dx: 11, anchor: "start" }, { dy: 4, dx: -11, anchor: "end" },
  { dy: -12, dx: 0, anchor: "start" }, { dy: -12, dx: 0, anchor: "end" },
  { dy: 20, dx: 0, anchor: "start" }, { dy: 20, dx: 0, anchor: "end" },
];

// Labels the chosen candidate, the original, and other candidates on the frontier as far as there is room.
function names(svg, placed, keys) {
  const holder = svg.querySelector(".names");
  const { width, height } = svg.getBoundingClientRect();
  const spots = placed.map((p) => ({ x: (p.x / 100) * width - 6, y: (p.y / 100) * height - 6, width: 12, height: 12 }));
  const apart = (p, q) => p.x + p.width <= q.x || q.x + q.width <= p.x || p.y + p.height <= q.y || q.y + q.height <= p.y;
  const taken = [];
  const weight = (p) => (p.kind("best") ? 0 : p.kind("base") ? 1 : 2);
  holder.replaceChildren();
  for (const one of placed.filter((p) => p.kind("on") || weight(p) < 2).sort((p, q) => weight(p) - weight(q))) {
    const word = weight(one) === 1 ? "the original" : keys[one.i];
    const text = make("text", { x: `${one.x}%`, y: `${one.y}%`, class: ["best", "base", ""][weight(one)] }, word);
    holder.append(text);
    const fits = (side, covering) => {
      for (const [key, value] of [["dx", side.dx], ["dy", side.dy], ["text-anchor", side.anchor]]) text.setAttribute(key, value);
      const box = text.getBBox();
      const inside = box.x >= 0 && box.y >= 0 && box.x + box.width <= width && box.y + box.height <= height;
      const clear = taken.every((other) => apart(box, other)) && (covering || spots.every((spot) => apart(box, spot)));
      if (inside && clear) taken.push(box);
      return inside && clear;
    };
    // The chosen candidate and the original are always labelled, over other marks if there is no other room.
    if (!SIDES.some((side) => fits(side, false)) && (weight(one) === 2 || !SIDES.some((side) => fits(side, true)))) text.remove();
  }
}

function plot(section, data) {
  const svg = section.querySelector(".dots");
  if (!svg) return () => {};
  const [across, up] = ["x", "y"].map((which) => section.querySelector(`select.${which}`));
  const readout = section.querySelector(".readout");
  const points = [...svg.querySelectorAll(".points g")];
  let placed = [];
  let active = null;

  function ticks(holder, axis, side) {
    const spans = axis.ticks.map(([position, text]) => {
      const span = document.createElement("span");
      span.textContent = text;
      span.style[side] = `${position}%`;
      return span;
    });
    section.querySelector(holder).replaceChildren(...spans);
  }

  function draw() {
    const [x, y] = [data.axes[across.value], data.axes[up.value]];
    ticks(".xt", x, "left");
    ticks(".yt", y, "bottom");
    section.querySelector(".xl").textContent = x.label;
    section.querySelector(".yl").textContent = y.label;
    svg.setAttribute("aria-label", `Candidates by ${x.word} and ${y.word}; use the arrow keys to go from one to the next`);
    svg.querySelector(".hairs").replaceChildren(
      ...x.ticks.map(([p]) => make("line", { x1: `${p}%`, x2: `${p}%`, y1: "0", y2: "100%", class: "h" })),
      ...y.ticks.map(([p]) => make("line", { x1: "0", x2: "100%", y1: `${100 - p}%`, y2: `${100 - p}%`, class: "h" })),
    );
    placed = [];
    for (const point of points) {
      const i = Number(point.dataset.i);
      const known = x.at[i] !== null && y.at[i] !== null;
      point.classList.toggle("off", !known);
      if (!known) continue;
      const one = { point, i, x: x.at[i], y: 100 - y.at[i], a: x.value[i], b: y.value[i], kind: (k) => point.classList.contains(k) };
      point.firstElementChild.setAttribute("x", `${one.x}%`);
      point.firstElementChild.setAttribute("y", `${one.y}%`);
      point.setAttribute("aria-label", `${data.keys[i]}: ${x.word} ${x.text[i]}, ${y.word} ${y.text[i]}`);
      placed.push(one);
    }
    placed.sort((p, q) => p.x - q.x || p.y - q.y);
    svg.querySelector(".front").replaceChildren(...steps(placed, x.less, y.less));
    names(svg, placed, data.keys);
  }

  function show(i) {
    active = i;
    for (const one of section.querySelectorAll(".active")) one.classList.remove("active");
    svg.removeAttribute("aria-activedescendant");
    if (i === null) return;
    for (const one of section.querySelectorAll(`[data-i="${i}"]`)) one.classList.add("active");
    svg.setAttribute("aria-activedescendant", `${data.prefix}p${i}`);
    const key = document.createElement("b");
    key.textContent = data.keys[i];
    const shown = Object.values(data.axes).filter((axis) => axis.value[i] !== null).slice(0, 8);
    readout.replaceChildren(key, ...shown.map((axis) => ` · ${axis.word} ${axis.text[i]}`));
  }

  function move(event) {
    const at = placed.findIndex((one) => one.i === active);
    const last = placed.length - 1;
    const next = { ArrowRight: Math.min(at + 1, last), ArrowDown: Math.min(at + 1, last), ArrowLeft: Math.max(at - 1, 0),
      ArrowUp: Math.max(at - 1, 0), Home: 0, End: last }[event.key];
    if (event.key === "Escape") show(null);
    if (next === undefined || !placed.length) return;
    event.preventDefault();
    show(placed[next].i);
  }

  svg.setAttribute("role", "listbox");
  svg.setAttribute("tabindex", "0");
  for (const point of points) point.setAttribute("role", "option");
  section.addEventListener("pointerover", (event) => {
    const one = event.target.closest("[data-i]");
    if (one) show(Number(one.dataset.i));
  });
  svg.addEventListener("keydown", move);
  for (const select of [across, up]) select.addEventListener("change", draw);
  draw();
  return () => names(svg, placed, data.keys);
}

function weigh(section, data) {
  const sliders = [...section.querySelectorAll(".sliders input")];
  if (!sliders.length) return;
  const bodies = [...section.querySelectorAll(".ranking tbody")];
  const shown = bodies[0].rows.length;
  const rows = bodies.flatMap((body) => [...body.rows]);
  const index = Object.fromEntries(data.rivals.map((rival) => [rival.key, String(rival.i)]));
  const winner = section.querySelector(".winner");
  const set = (slider) => slider.dataset.steps.split(" ")[slider.value];

  function draw() {
    const weights = {};
    for (const slider of sliders) {
      weights[slider.dataset.name] = Number(set(slider));
      slider.setAttribute("aria-valuetext", set(slider));
      slider.nextElementSibling.textContent = set(slider);
    }
    const found = rank(data.rivals, weights, data.rules, data.original);
    const order = new Map((found ? found.ranked : []).map((key, at) => [index[key], [at, key]]));
    for (const row of rows) {
      const own = order.get(row.dataset.i);
      row.querySelector(".k").textContent = own ? own[0] + 1 : "";
      row.querySelector(".c").textContent = own ? found.scores[own[1]][0].toFixed(3).replace("-", "−") : "–";
      row.classList.toggle("win", Boolean(found) && row.dataset.i === index[found.winner]);
    }
    const sorted = [...rows].sort((p, q) => (order.get(p.dataset.i) || [rows.length])[0] - (order.get(q.dataset.i) || [rows.length])[0]);
    bodies[0].replaceChildren(...sorted.slice(0, shown));
    if (bodies[1]) bodies[1].replaceChildren(...sorted.slice(shown));
    describe(found, weights);
  }

  function describe(found, weights) {
    const key = document.createElement("strong");
    key.textContent = found ? found.winner : "";
    const ties = found ? found.ties.length - 1 : 0;
    const how = !found ? "All weights are 0, so nothing can be ranked."
      : ties ? ` is chosen as the smallest of ${ties + 1} candidates whose scores are within each other's interval.`
      : " is first by these weights; no other candidate is within its interval.";
    const command = document.createElement("code");
    const words = Object.entries(weights).filter(([, w]) => w > 0).map(([n, w]) => `${n}=${w}`).join(",");
    command.textContent = found ? `edgehone choose ${data.bundle} --weights ${words}` : "";
    winner.replaceChildren(key, how, document.createElement("br"), command);
  }

  for (const slider of sliders) slider.addEventListener("input", draw);
  section.querySelector(".reset").addEventListener("click", () => {
    for (const slider of sliders) slider.value = slider.defaultValue;
    draw();
  });
  draw();
}

for (const script of document.querySelectorAll("script.data")) {
  const section = script.closest("section");
  const data = JSON.parse(script.textContent);
  section.classList.add("live");
  const redraw = plot(section, data);
  weigh(section, data);
  let wait = 0;
  addEventListener("resize", () => {
    cancelAnimationFrame(wait);
    wait = requestAnimationFrame(redraw);
  });
}
addEventListener("beforeprint", () => {
  for (const one of document.querySelectorAll("details")) one.open = true;
});
document.documentElement.dataset.ready = "yes";
