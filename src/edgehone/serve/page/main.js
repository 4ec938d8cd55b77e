// The page as a whole: which model is chosen, its state, and the keyboard.

const page = { models: [], state: undefined, isShown: false };

const chosen = () => page.models.find((one) => one.name === byId("model").value);

function announce(text) {
  byId("announcement").textContent = text;
}

// Read the models again. Without an accepted key, ask for one.
async function loadModels() {
  try {
    page.models = (await (await call("/models.json")).json()).models;
  } catch (error) {
    if (!needsKey(error)) byId("state").textContent = error.message;
    return;
  }
  keyIsAccepted();
  const before = byId("model").value;
  byId("model").replaceChildren(...page.models.map((one) => make("option", { value: one.name }, one.name)));
  if (page.models.some((one) => one.name === before)) byId("model").value = before;
  byId("model").disabled = Boolean(conversation.running);
  await showModel();
  if (!page.isShown) byId("prompt").focus({ preventScroll: true });
  page.isShown = true;
}

async function showModel() {
  const model = chosen();
  const speaks = model?.kind === "language";
  byId("text").hidden = byId("settings").hidden = !speaks;
  byId("graph").hidden = !model || speaks;
  if (speaks) {
    byId("text").setAttribute("aria-label", model.chat ? "Conversation" : "Completion");
    byId("ask").querySelector("label").textContent = model.chat ? "Message" : "Text to continue";
    byId("choose-picture").hidden = !model.pictures;
    if (!model.pictures) showPicture("");
    showSettings(model);
  }
  showState();
  if (model && !speaks) await showGraph(model);
}

function stateChanged(state) {
  page.state = state;
  if (state && byId("key-form").hidden) loadModels();
  else showState();
}

function showState() {
  const name = chosen()?.name;
  const [text, isWell] = stateOf(page.state, name);
  byId("state").className = isWell ? "ready" : "problem";
  byId("state").textContent = text;
}

// What /readyz says of a model, in words, and whether it can answer.
function stateOf(state, name) {
  if (state === null) return ["the server does not answer", false];
  if (!state || !name) return ["", true];
  if (state.problems[name]) return [state.problems[name], false];
  if (state.unloaded.includes(name)) return ["unloaded: the next request loads it", true];
  return [state.proofs[name] ? `ready: ${state.proofs[name]}` : "ready", true];
}

whenKeyIsGiven(async () => {
  await loadModels();
  if (byId("key-form").hidden) byId("prompt").focus({ preventScroll: true });
});
byId("model").addEventListener("change", showModel);
byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  send(chosen());
});
byId("prompt").addEventListener("keydown", (event) => {
  // While characters are composed, Enter accepts them.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send(chosen());
});
byId("log").addEventListener("scroll", scrolled);
byId("log").addEventListener("keydown", gesture);
for (const type of ["wheel", "touchmove"]) byId("log").addEventListener(type, gesture, { passive: true });
byId("stop").addEventListener("click", () => conversation.running?.abort());
byId("clear").addEventListener("click", clear);
byId("infer").addEventListener("submit", (event) => {
  event.preventDefault();
  infer(chosen());
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  conversation.running?.abort();
  graph.running?.abort();
});

byId("settings").open = matchMedia("(min-width: 60rem)").matches;
drawTiles();
watch(stateChanged);
