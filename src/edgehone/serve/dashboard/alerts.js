// The alerts of GET /alerts as a table: those that hold, the most urgent first.

const heldText = (seconds) => (seconds < 90 ? `${Math.round(seconds)} s` : seconds < 5400 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`);

async function showAlerts() {
  const { alerts, evaluated, left_out: leftOut } = await (await call("/alerts")).json();
  byId("alerts").hidden = false;
  byId("alerts-table").hidden = !alerts.length;
  byId("alerts-none").hidden = alerts.length > 0;
  byId("alerts-none").textContent = evaluated ? `None of ${evaluated} alerts holds.` : "They are not evaluated yet: the server has just started.";
  byId("alerts-rows").replaceChildren(...alerts.map(rowOfAlert));
  byId("alerts-left").hidden = !leftOut.length;
  byId("alerts-left").querySelector("summary").textContent = leftOut.length === 1 ? "1 alert is not evaluated" : `${leftOut.length} alerts are not evaluated`;
  byId("alerts-left").querySelector("ul").replaceChildren(...leftOut.map((one) => make("li", {}, `${one.name} of ${one.model}: ${one.reason}`)));
}

function rowOfAlert(one) {
  const state = one.pending ? "pending" : one.severity;
  const title = one.pending ? `it is an alert once it has held for ${heldText(one.for_s)}` : one.severity === "page" ? "somebody must act now" : "in working hours";
  const cells = [
    make("td", {}, one.says),
    make("td", { class: "number", "data-name": "Figure" }, written(one.figure, one.unit)),
    make("td", { class: "number", "data-name": "Limit", title: one.basis }, `${one.op === ">" ? "≤" : "≥"} ${written(one.limit, one.unit)}`),
    make("td", { class: "number", "data-name": "For" }, heldText(one.held_s)),
    make("td", { "data-name": "What to do" }, one.do),
  ];
  return make("tr", { class: state }, make("th", { scope: "row", title }, state), ...cells);
}
