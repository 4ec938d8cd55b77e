// Inputs and outputs of a graph, in the Open Inference Protocol v2.

// Longer inputs are not written out in the example.
const WRITTEN = 4096;
const ROWS = 100;
const COLUMNS = 12;
const graph = { running: null, shown: "" };

const modelPath = (model) => `/v2/models/${encodeURIComponent(model.name)}`;
const count = (shape) => shape.reduce((product, size) => product * size, 1);
// One sample, and one of whatever else the model leaves open.
const smallest = (shape) => shape.map((size) => (size < 0 ? 1 : size));

// Show the inputs of a graph with an example, once: what was changed in it stays.
async function showGraph(model) {
  if (graph.shown === model.name) return;
  graph.shown = model.name;
  byId("infer-problem").textContent = "";
  byId("outputs").replaceChildren();
  try {
    const { inputs } = await (await call(modelPath(model))).json();
    if (graph.shown !== model.name) return;
    const name = (port) => `${port.name}: ${port.datatype} [${port.shape.join(", ")}]`;
    byId("ports").textContent = `${inputs.map(name).join("; ")}. Empty data is filled with random values.`;
    byId("inputs").value = exampleOf(inputs);
  } catch (error) {
    graph.shown = "";
    tell(error);
  }
}

function exampleOf(inputs) {
  const tensors = inputs.map(({ name, datatype, shape }) => {
    const sizes = smallest(shape);
    return { name, shape: sizes, datatype, data: count(sizes) > WRITTEN ? [] : randomValues(datatype, count(sizes)) };
  });
  // Numbers in lines, everything else indented.
  const text = JSON.stringify({ inputs: tensors }, null, 2);
  return text.replace(/\[[^[\]{}]*\]/g, (list) => list.replace(/\s+/g, " ").replace("[ ", "[").replace(" ]", "]"));
}

function randomValues(datatype, size) {
  const one = {
    BOOL: () => Math.random() < 0.5,
    BYTES: () => "text",
  }[datatype] ?? (datatype.includes("INT") ? () => 1 : () => Math.round(Math.random() * 1000) / 1000);
  return Array.from({ length: size }, one);
}

// The request that was written, with the data that was left out.
function written() {
  let body;
  try {
    body = JSON.parse(byId("inputs").value);
  } catch (error) {
    throw new Failure(`The inputs are not JSON: ${error.message}`, 0);
  }
  for (const tensor of Array.isArray(body?.inputs) ? body.inputs : []) {
    const empty = Array.isArray(tensor?.data) && !tensor.data.length && Array.isArray(tensor.shape);
    if (empty) tensor.data = randomValues(String(tensor.datatype), count(tensor.shape));
  }
  return body;
}

async function infer(model) {
  if (graph.running) return;
  byId("infer-problem").textContent = "";
  try {
    const body = written();
    graph.running = new AbortController();
    byId("infer-state").textContent = "The model computes.";
    const begun = performance.now();
    const answer = await (await call(`${modelPath(model)}/infer`, { body, signal: graph.running.signal })).json();
    byId("infer-state").textContent = `answered after ${duration(performance.now() - begun)}`;
    byId("outputs").replaceChildren(...answer.outputs.map(table));
  } catch (error) {
    byId("infer-state").textContent = error.name === "AbortError" ? "stopped" : "";
    if (error.name !== "AbortError") tell(error);
  } finally {
    graph.running = null;
  }
}

function tell(error) {
  if (error.status === 401) askForKey(error.message);
  else byId("infer-problem").textContent = error.message;
}

// An output as a table: a row for each position before the last axis if that is short, else one for each value.
function table({ name, datatype, shape, data }) {
  const values = data.flat(Infinity);
  const columns = shape.length > 1 && shape.at(-1) <= COLUMNS ? shape.at(-1) : 1;
  const rows = Math.ceil(values.length / Math.max(1, columns));
  const axes = columns > 1 ? shape.slice(0, -1) : shape;
  const body = make("tbody");
  for (let row = 0; row < Math.min(rows, ROWS); row++) {
    const cells = values.slice(row * columns, (row + 1) * columns).map((value) => make("td", {}, shown(value)));
    body.append(make("tr", {}, make("th", { scope: "row" }, position(row, axes)), ...cells));
  }
  const parts = [body];
  if (columns > 1) {
    const heads = Array.from({ length: columns }, (_, column) => make("th", { scope: "col" }, String(column)));
    parts.unshift(make("thead", {}, make("tr", {}, make("td"), ...heads)));
  }
  const title = `${name}: ${datatype} [${shape.join(", ")}]`;
  const scroll = make("div", { class: "wide", tabindex: "0", role: "region", "aria-label": title }, make("table", {}, ...parts));
  const more = rows > ROWS ? [make("p", { class: "hint" }, `${(rows - ROWS).toLocaleString("en")} more rows`)] : [];
  return make("section", {}, make("h2", {}, title), scroll, ...more);
}

const shown = (value) => (typeof value === "number" && !Number.isInteger(value) ? String(Number(value.toPrecision(6))) : String(value));

// The indices of a position along some axes.
function position(at, shape) {
  const indices = [];
  for (const size of [...shape].reverse()) {
    indices.unshift(at % size);
    at = Math.floor(at / size);
  }
  return indices.length ? indices.join(", ") : "value";
}
