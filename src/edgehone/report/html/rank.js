"use strict";
// The same scores as decision/choice.py: weighted sums of ln(own / best), intervals in quadrature, ties to the smaller.
// rivals: [{key, bytes, logs: {objective: [value, down, up] or null}}], the candidates that pass every gate.
// original: the logs of the original. A missing objective counts as the worst of all of these; without the main one,
// speed or else throughput, a rival is left out.
// Returns {winner, ties, ranked: [key], scores: {key: [value, low, high]}}, or null if no candidate can be scored.
function rank(rivals, weights, sameSize, original) {
  const used = Object.keys(weights).filter((n) => weights[n] > 0 && rivals.some((r) => r.logs[n]));
  const main = weights.throughput && !weights.speed ? "throughput" : "speed";
  const compared = rivals.filter((r) => !used.includes(main) || r.logs[main]);
  const values = (from, n) => from.filter((logs) => logs[n]).map((logs) => logs[n][0]);
  const every = [...rivals.map((r) => r.logs), original];
  const worst = Object.fromEntries(used.map((n) => [n, [Math.min(...values(every, n)), 0, 0]]));
  const own = compared.map((r) => Object.fromEntries(used.map((n) => [n, r.logs[n] ?? worst[n]])));
  const best = Object.fromEntries(used.map((n) => [n, Math.max(...values(own, n))]));
  const [scores, size, lacking] = [{}, {}, {}];
  compared.forEach(({ key, bytes, logs }, i) => {
    const total = used.reduce((sum, n) => sum + weights[n] * (own[i][n][0] - best[n]), 0);
    const down = Math.hypot(...used.map((n) => weights[n] * own[i][n][1]));
    const up = Math.hypot(...used.map((n) => weights[n] * own[i][n][2]));
    scores[key] = [total, total - down, total + up];
    size[key] = bytes ?? Infinity;
    lacking[key] = used.some((n) => !logs[n]);
  });
  const ranked = Object.keys(scores).sort(
    (a, b) => scores[b][0] - scores[a][0] || lacking[a] - lacking[b] || (a < b ? -1 : 1),
  );
  if (!used.length || !ranked.length) return null;
  const [top, low] = scores[ranked[0]];
  const tied = ([value, , high]) => top - value <= Math.hypot(high - value, top - low);
  const ties = ranked.filter((k) => k === ranked[0] || tied(scores[k]));
  const smallest = Math.min(...ties.map((k) => size[k]));
  const winner = ties.find((k) => size[k] <= sameSize * smallest);
  return { winner, ties, ranked, scores };
}
