// Elements of the page. Text is always set as text, never as HTML.

const byId = (id) => document.getElementById(id);

function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

const decimals = (value, digits) => value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

// Milliseconds in three digits, with their unit.
function duration(ms) {
  if (ms >= 1000) return `${decimals(ms / 1000, ms < 10000 ? 2 : 1)} s`;
  return `${decimals(ms, ms < 10 ? 1 : 0)} ms`;
}

const rate = (value) => decimals(value, value < 100 ? 1 : 0);
