// The figures of GET /history, and lines made of them.

// Read the figures of some metrics since so many seconds ago.
async function readHistory(seconds, metrics, points) {
  const asked = new URLSearchParams({ since: -seconds, points });
  for (const one of metrics) asked.append("metric", one);
  return (await call(`/history?${asked}`)).json();
}

const sumOf = (lists) => lists[0].map((_, at) => {
  const there = lists.map((one) => one[at]).filter((value) => value !== null);
  return there.length ? there.reduce((sum, value) => sum + value, 0) : null;
});
const mostOf = (lists) => lists[0].map((_, at) => lists.reduce((most, one) => (one[at] === null ? most : Math.max(most ?? -Infinity, one[at])), null));

// The series of a history that a line of a panel is about, joined where the labels `by` are equal: [labels, values].
function joined(history, { metric, stat, fits = () => true, by = [], join = sumOf }) {
  const groups = new Map();
  for (const one of history.series) {
    if (one.metric !== metric || one.stat !== stat || !fits(one.labels)) continue;
    const labels = Object.fromEntries(by.map((name) => [name, one.labels[name] ?? ""]));
    const key = JSON.stringify(labels);
    if (!groups.has(key)) groups.set(key, { labels, lists: [] });
    groups.get(key).lists.push(one.values);
  }
  return [...groups.values()].map(({ labels, lists }) => ({ labels, values: lists.length > 1 ? join(lists) : lists[0] }));
}

// All lines of a panel, with names. `factor` multiplies; `of` is a whole that the line is shown as a share of.
function linesOf(history, panel) {
  return panel.lines.flatMap((line) => {
    const found = joined(history, line);
    const wholes = line.of ? joined(history, { ...line, ...line.of }) : [];
    return found.map(({ labels, values }) => {
      const same = (one) => JSON.stringify(one.labels) === JSON.stringify(labels);
      const whole = line.of && wholes.find(same)?.values;
      const shown = line.of ? values.map((value, at) => (whole?.[at] ? value / whole[at] : null)) : values;
      return { name: line.name(labels), values: shown.map((value) => (value === null ? null : value * (line.factor ?? 1))) };
    });
  }).filter((one) => one.values.some((value) => value !== null));
}
