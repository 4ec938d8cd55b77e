// The system prompt and the options of an engine. An empty field is left out of a request.

const NUMBERS = [
  { name: "max_tokens", label: "Most new tokens", min: 1, step: 1, value: 512 },
  { name: "temperature", label: "Temperature", min: 0, max: 100, step: 0.1 },
  { name: "top_p", label: "Top p", min: 0, max: 1, step: 0.05 },
  { name: "top_k", label: "Top k", min: 0, step: 1 },
  { name: "min_p", label: "Min p", min: 0, max: 1, step: 0.01 },
  { name: "seed", label: "Seed", step: 1 },
  { name: "repetition_penalty", label: "Repetition penalty", min: 0, step: 0.05 },
  { name: "frequency_penalty", label: "Frequency penalty", min: -2, max: 2, step: 0.1 },
  { name: "presence_penalty", label: "Presence penalty", min: -2, max: 2, step: 0.1 },
];
const OFFERED = new Set(["max_tokens"]);

// Show the fields that a model's engine takes. What was entered before stays.
function showSettings(model) {
  const kept = Object.fromEntries([...byId("fields").querySelectorAll("input, textarea")].map((one) => [one.name, one.value]));
  const parts = [];
  if (model.chat) {
    const system = make("textarea", { id: "system", name: "system", rows: 3 });
    parts.push(make("p", { class: "field long" }, make("label", { for: "system" }, "System prompt"), system));
  }
  for (const { name, label, value = "", ...limits } of NUMBERS) {
    if (!OFFERED.has(name) && !model.options.includes(name)) continue;
    const input = make("input", { id: name, name, type: "number", inputmode: "decimal", value, ...limits });
    if (!OFFERED.has(name)) input.placeholder = "default";
    parts.push(make("p", { class: "field" }, make("label", { for: name }, label), input));
  }
  byId("fields").replaceChildren(...parts);
  for (const [name, value] of Object.entries(kept)) {
    const field = byId("fields").querySelector(`[name="${name}"]`);
    if (field) field.value = value;
  }
}

// The numbers that were entered. Throws Failure for a field with something else.
function numbers() {
  const wrong = [...byId("fields").querySelectorAll("input")].find((one) => one.validity.badInput);
  if (wrong) {
    wrong.focus();
    throw new Failure(`${wrong.labels[0].textContent} is not a number.`, 0);
  }
  const filled = [...byId("fields").querySelectorAll("input")].filter((one) => one.value !== "");
  return Object.fromEntries(filled.map((one) => [one.name, Number(one.value)]));
}

const systemPrompt = () => byId("system")?.value.trim() ?? "";
