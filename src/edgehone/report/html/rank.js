"use strict";
// The same scores as decision/choice.py: weighted sums of ln(own / best), intervals in quadrature, ties to the smaller.
// rivals: [{key, bytes, logs: {objective: [value, down, up] or null}}], the candidates that pass every gate.
// Returns {winner, ties, ranked: [key], scores: {key: [value, low, high]}}, or null if no candidate can be scored.
function rank(rivals, weights, sameSize) {
  const used = Object.keys(weights).filter((n) => weights[n] > 0 && rivals.some((r) => r.logs[n]));
  const best = Object.fromEntries(
    used.map((n) => [n, Math.max(...rivals.filter((r) => r.logs[n]).map((r) => r.logs[n][0]))]),
  );
  const scores = {};
  const size = {};
  for (const rival of rivals) {
    if (used.some((n) => !rival.logs[n])) continue;
    const total = used.reduce((sum, n) => sum + weights[n] * (rival.logs[n][0] - best[n]), 0);
    const down = Math.hypot(...used.map((n) => weights[n] * rival.logs[n][1]));
    const up = Math.hypot(...used.map((n) => weights[n] * rival.logs[n][2]));
    scores[rival.key] = [total, total - down, total + up];
    size[rival.key] = rival.bytes ?? Infinity;
  }
  const ranked = Object.keys(scores).sort((a, b) => scores[b][0] - scores[a][0] || (a < b ? -1 : 1));
  if (!used.length || !ranked.length) return null;
  const [top, low] = scores[ranked[0]];
  const tied = ([value, , high]) => top - value <= Math.hypot(high - value, top - low);
  const ties = ranked.filter((k) => k === ranked[0] || tied(scores[k]));
  const smallest = Math.min(...ties.map((k) => size[k]));
  const winner = ties.find((k) => size[k] <= sameSize * smallest);
  return { winner, ties, ranked, scores };
}
