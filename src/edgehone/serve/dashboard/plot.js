// Plots as SVG, with positions in per cent. Texts are HTML beside it, so that they keep their size.

const SVG = "http://www.w3.org/2000/svg";
const MOST_LINES = 6;

function pathOf(attributes) {
  const path = document.createElementNS(SVG, "path");
  for (const [key, value] of Object.entries(attributes)) path.setAttribute(key, value);
  return path;
}

// Those with the largest values are drawn, and it is said how many are not.
function chosenLines(lines) {
  const size = (line) => Math.max(...line.values.filter((value) => value !== null));
  if (lines.length <= MOST_LINES) return [lines, 0];
  const kept = new Set([...lines].sort((one, other) => size(other) - size(one)).slice(0, MOST_LINES));
  return [lines.filter((line) => kept.has(line)), lines.length - MOST_LINES];
}

// The outline of a line. It is broken where times are missing, and where there is no value.
function outline(at, values, step, x, y) {
  let text = "";
  let before = -1;
  values.forEach((value, index) => {
    if (value === null) return;
    const point = `${x(at[index]).toFixed(2)} ${y(value).toFixed(2)}`;
    const goes = before === index - 1 && index && at[index] - at[before] <= 2.5 * step;
    text += goes ? `L${point}` : `M${point}h0`;
    before = index;
  });
  return text;
}

function plotOf(panel, all, times) {
  const { limit = null } = panel;
  const [lines, further] = chosenLines(all);
  const values = lines.flatMap((line) => line.values.filter((value) => value !== null));
  if (limit !== null) values.push(limit);
  const ticks = ticksTo(Math.min(...values), Math.max(...values), panel.unit);
  const [low, high] = [ticks[0], ticks.at(-1)];
  const x = (at) => ((at - times.from) / (times.to - times.from)) * 100;
  const y = (value) => 100 - ((value - low) / (high - low)) * 100;

  const svg = document.createElementNS(SVG, "svg");
  for (const [key, value] of Object.entries({ viewBox: "0 0 100 100", preserveAspectRatio: "none", "aria-hidden": "true" })) svg.setAttribute(key, value);
  svg.append(pathOf({ class: "grid", d: ticks.map((tick) => `M0 ${y(tick).toFixed(2)}H100`).join("") }));
  if (limit !== null) svg.append(pathOf({ class: "limit", d: `M0 ${y(limit).toFixed(2)}H100` }));
  lines.forEach((line, index) => svg.append(pathOf({ class: `c${index}`, d: outline(times.at, line.values, times.step, x, y) })));
  const cursor = pathOf({ class: "cursor", d: "" });
  svg.append(cursor);

  const box = make("div", { class: "plot" }, svg, yTexts(ticks, y, panel.unit));
  const { list, show } = legendOf(panel, lines, limit, further);
  show(lines.map((line) => line.values.findLast((value) => value !== null) ?? null));
  followPointer(box, times, x, cursor, (index) => show(lines.map((line) => (index < 0 ? line.values.findLast((value) => value !== null) ?? null : line.values[index]))));
  return make("figure", {}, make("figcaption", {}, panel.title), box, xTexts(times, x), list);
}

function yTexts(ticks, y, unit) {
  const [factor, name] = scaleOf(unit, ticks.at(-1));
  const texts = ticks.map((tick, index) => {
    const text = make("span", {}, `${short(tick / factor)}${name && index === ticks.length - 1 ? ` ${name}` : ""}`);
    text.style.bottom = `${100 - y(tick)}%`;
    return text;
  });
  return make("div", { class: "y", "aria-hidden": "true" }, ...texts);
}

function xTexts(times, x) {
  const texts = timeTicks(times.from, times.to).filter(([at]) => x(at) >= 4 && x(at) <= 96).map(([at, text]) => {
    const element = make("span", {}, text);
    element.style.left = `${x(at)}%`;
    return element;
  });
  return make("div", { class: "x", "aria-hidden": "true" }, ...texts);
}

// The names of the lines with a value each, which `show` changes.
function legendOf(panel, lines, limit, further) {
  const values = lines.map(() => make("b", {}));
  const items = lines.map((line, index) => make("li", {}, make("i", { class: `c${index}` }), make("span", { class: "name" }, line.name), values[index]));
  if (limit !== null) items.push(make("li", {}, make("i", { class: "of-limit" }), make("span", { class: "name" }, "limit"), make("b", {}, written(limit, panel.unit))));
  if (further) items.push(make("li", {}, `${further} smaller ones are not drawn`));
  const show = (now) => now.forEach((value, index) => (values[index].textContent = written(value, panel.unit)));
  return { list: make("ul", { class: "legend" }, ...items), show };
}

// Show the values at the time under the pointer; -1: it has left.
function followPointer(box, times, x, cursor, show) {
  box.addEventListener("pointermove", (event) => {
    const frame = box.getBoundingClientRect();
    const at = times.from + ((event.clientX - frame.left) / frame.width) * (times.to - times.from);
    const index = times.at.reduce((best, one, here) => (Math.abs(one - at) < Math.abs(times.at[best] - at) ? here : best), 0);
    cursor.setAttribute("d", `M${x(times.at[index]).toFixed(2)} 0V100`);
    show(index);
  });
  box.addEventListener("pointerleave", () => {
    cursor.setAttribute("d", "");
    show(-1);
  });
}
