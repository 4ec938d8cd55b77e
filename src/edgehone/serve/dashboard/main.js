// The page: which time is shown, and when it is read again.

const RANGES = [[900, "15 minutes"], [3600, "hour"], [6 * 3600, "6 hours"], [86400, "24 hours"], [7 * 86400, "7 days"], [14 * 86400, "14 days"]];
const POINTS = 360;
const EVERY = 10_000;
const shown = { round: 0 };

const isWell = (text) => {
  byId("state").className = "ready";
  byId("state").textContent = text;
};
const isBad = (text) => {
  byId("state").className = "problem";
  byId("state").textContent = text;
};

// Read and draw the chosen time. Answers to earlier choices are dropped.
async function load() {
  const round = ++shown.round;
  const seconds = Number(byId("range").value);
  try {
    const history = await readHistory(seconds, METRICS, POINTS);
    if (round !== shown.round) return;
    keyIsAccepted();
    draw(history);
    await Promise.all([showAlerts(), showProblems()]);
  } catch (error) {
    if (!(error instanceof Failure)) throw error;
    if (round === shown.round && !needsKey(error)) isBad(error.message);
  }
}

function draw(history) {
  const { at, step, since, now, problem } = history;
  if (problem) isBad(problem);
  else if (!at.length) isBad("No figures yet: the first come 10 s after the server's start");
  // The server's clock tells how old the newest figures are.
  else if (now - at.at(-1) > 2 * step + 60) isBad(`The newest figures are of ${timeText(at.at(-1), false)}: see the server's log`);
  else isWell(`until ${timeText(at.at(-1), false)}, a point each ${stepText(step)}`);
  const times = { at, step, from: since, to: now };
  const missing = [];
  byId("panels").replaceChildren(...ROWS.map((row) => drawRow(row, history, times, missing)).filter(Boolean));
  byId("missing").hidden = !missing.length || !at.length;
  byId("missing-list").replaceChildren(...missing.map((text) => make("li", {}, text)));
}

const stepText = (step) => (step < 120 ? `${Math.round(step)} s` : `${Math.round(step / 60)} min`);

function drawRow(row, history, times, missing) {
  const figures = row.panels.flatMap((panel) => {
    const lines = linesOf(history, panel);
    if (lines.length) return plotOf(panel, lines, times);
    missing.push(panel.empty ? `${panel.title}: ${panel.empty}` : panel.title);
    return [];
  });
  return figures.length ? make("section", {}, make("h2", {}, row.title), make("div", { class: "row" }, ...figures)) : null;
}

// What /readyz says is wrong now.
async function showProblems() {
  let problems = {};
  try {
    ({ problems } = await (await fetch("/readyz", { cache: "no-store" })).json());
  } catch {
    isBad("The server does not answer.");
  }
  byId("problems").replaceChildren(...Object.entries(problems).map(([name, text]) => make("li", {}, `${name}: ${text}`)));
}

byId("range").append(...RANGES.map(([seconds, name]) => make("option", { value: seconds }, name)));
byId("range").value = 3600;
byId("range").addEventListener("change", load);
whenKeyIsGiven(load);
document.addEventListener("visibilitychange", () => document.hidden || load());
load();
// While a key is asked for, or a plot is looked at closely, nothing is read.
setInterval(() => {
  if (!document.hidden && byId("key-form").hidden && !document.querySelector(".plot:hover")) load();
}, EVERY);
