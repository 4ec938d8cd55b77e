// What the server did in the last minute, from /metrics and /readyz. Neither asks an engine.

const SPAN = 60_000;
const EVERY = 1000;
const samples = [];

// The sums of the metrics over their labels, as a function of name and condition on the labels.
function reader(text) {
  const lines = text.split("\n").filter((line) => line && !line.startsWith("#"));
  const parsed = lines.map((line) => {
    const cut = line.lastIndexOf(" ");
    const [name, labels = ""] = line.slice(0, cut).split(/\{(.*)/s);
    return { name, labels, value: Number(line.slice(cut + 1)) };
  });
  return (name, fits = () => true) =>
    parsed.filter((one) => one.name === name && fits(one.labels)).reduce((sum, one) => sum + one.value, 0);
}

// What this page asks for its own needs does not count.
const isAsked = (labels) => !labels.includes('path="/models.json"');

// 499: the client left, which is no error.
function isError(labels) {
  const status = Number(/(?:^|,)status="(\d+)"/.exec(labels)?.[1] ?? 0);
  return isAsked(labels) && status >= 400 && status !== 499;
}

function sampleOf(text, time) {
  const metric = reader(text);
  return {
    time,
    requests: metric("edgehone_requests_total", isAsked),
    errors: metric("edgehone_requests_total", isError),
    waiting: metric("edgehone_waiting_requests"),
    running: metric("edgehone_running_requests"),
    firsts: metric("edgehone_first_token_seconds_count"),
    firstSeconds: metric("edgehone_first_token_seconds_sum"),
    tokens: metric("edgehone_generated_tokens_total"),
  };
}

const TILES = [
  { name: "requests", label: "Requests", counted: true },
  { name: "errors", label: "Errors", counted: true },
  { name: "running", label: "Running now" },
  { name: "waiting", label: "Waiting now" },
  { name: "tokens", label: "Tokens per second", counted: true, text: (now, before) => rate((now.tokens - before.tokens) / ((now.time - before.time) / 1000)) },
  { name: "firsts", label: "First token (mean)", text: meanFirst, plotted: false },
];

function meanFirst(now, before) {
  const many = now.firsts - before.firsts;
  return many ? duration(((now.firstSeconds - before.firstSeconds) / many) * 1000) : "–";
}

function drawTiles() {
  for (const { name, label, plotted = true } of TILES) {
    const value = make("dd", { id: `tile-${name}` }, make("b", {}, "–"));
    if (plotted) value.append(plot());
    byId("tiles").append(make("div", {}, make("dt", {}, label), value));
  }
}

function plot() {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [key, value] of Object.entries({ viewBox: "0 0 60 20", preserveAspectRatio: "none", "aria-hidden": "true" }))
    svg.setAttribute(key, value);
  svg.append(document.createElementNS("http://www.w3.org/2000/svg", "path"));
  return svg;
}

function add(sample) {
  // A server that was started again counts from 0.
  if (samples.length && sample.requests < samples.at(-1).requests) samples.length = 0;
  samples.push(sample);
  while (samples[0].time < sample.time - SPAN - EVERY / 2) samples.shift();
  for (const tile of TILES) draw(tile, sample, samples[0]);
}

function draw({ name, counted, text, plotted = true }, now, before) {
  const value = text ? (now === before ? "–" : text(now, before)) : counted ? now[name] - before[name] : now[name];
  byId(`tile-${name}`).querySelector("b").textContent = value.toLocaleString("en");
  if (plotted) byId(`tile-${name}`).querySelector("path").setAttribute("d", path(heights(name, counted)));
}

// Pairs of seconds before now and a height: what was counted since the sample before, or the value then.
function heights(name, counted) {
  const now = samples.at(-1).time;
  return samples.slice(1).map((one, i) => [(now - one.time) / 1000, counted ? one[name] - samples[i][name] : one[name]]);
}

function path(points) {
  const most = Math.max(1, ...points.map(([, height]) => height));
  return points.map(([ago, height], i) => `${i ? "L" : "M"}${(60 - ago).toFixed(1)} ${(19 - (18 * height) / most).toFixed(1)}`).join("");
}

let known = "";

// Read the metrics and the state of the models. `changed` is called with a state other than the last: null if there is none.
async function look(changed) {
  let state = "null";
  try {
    const [metrics, ready] = await Promise.all(["/metrics", "/readyz"].map((path) => fetch(path, { cache: "no-store" })));
    add(sampleOf(await metrics.text(), performance.now()));
    state = await ready.text();
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // fetch's error if the server does not answer
  }
  if (state !== known) changed(JSON.parse(state));
  known = state;
}

// Look each second while the page is in view.
async function watch(changed) {
  for (;;) {
    if (!document.hidden) await look(changed);
    await new Promise((done) => setTimeout(done, EVERY));
  }
}
