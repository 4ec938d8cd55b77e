// Runs the canary in the browser and shows the outputs. Serve this folder over HTTP: modules do not load from files.
import * as ort from "./ort/ort.wasm.min.mjs";
import { run } from "./canary.mjs";

const state = document.getElementById("state");

async function bytes(path) {
  const answer = await fetch(path);
  if (!answer.ok) throw new Error(`${path}: HTTP ${answer.status}`);
  return new Uint8Array(await answer.arrayBuffer());
}

function show(one) {
  const row = document.getElementById("outputs").insertRow();
  const entries = one.values.slice(0, 8).map((value) => Number(value.toPrecision(5))).join(", ");
  for (const text of [one.name, one.shape.join(" × "), one.difference.toPrecision(3), one.allowed, entries])
    row.insertCell().textContent = text;
}

ort.env.wasm.wasmPaths = new URL("ort/", import.meta.url).href;
ort.env.wasm.numThreads = 1; // more threads need the headers COOP and COEP
try {
  const told = await run(ort, await bytes("model.ort"), (file) => bytes(`canary/${file}`));
  told.forEach(show);
  document.querySelector("table").hidden = false;
  window.told = told;
  state.textContent = told.every((one) => one.proven) ? "These are the proven outputs." : "These are NOT the proven outputs.";
} catch (error) {
  state.textContent = `failed: ${error.message}`;
}
