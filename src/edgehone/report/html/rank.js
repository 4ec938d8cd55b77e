"use strict";
// The same scores and choice as decision/choice.py: weighted sums of ln(own / best), overruled by pairs of rounds, and ties to
// the smaller.
// rivals: [{key, bytes, logs: {objective: [value, down, up] or null}, ahead: {key: {objective: [mean, half]}}}], the
// candidates that pass every gate; `ahead` are the differences of speed and throughput by pairs of rounds.
// rules: {sameSize, indifference, qualityIndifference}. original: the logs of the original. A missing objective counts as
// the worst of all of these; without the main one, speed or else throughput, a rival is left out.
// Returns {winner, ties, ranked: [key], scores: {key: [value, low, high]}}, or null if no candidate can be scored.
function rank(rivals, weights, rules, original) {
  const used = Object.keys(weights).filter((n) => weights[n] > 0 && rivals.some((r) => r.logs[n]));
  const main = weights.throughput && !weights.speed ? "throughput" : "speed";
  const compared = rivals.filter((r) => !used.includes(main) || r.logs[main]);
  const values = (from, n) => from.filter((logs) => logs[n]).map((logs) => logs[n][0]);
  const every = [...rivals.map((r) => r.logs), original];
  const worst = Object.fromEntries(used.map((n) => [n, [Math.min(...values(every, n)), 0, 0]]));
  const own = compared.map((r) => Object.fromEntries(used.map((n) => [n, r.logs[n] ?? worst[n]])));
  const best = Object.fromEntries(used.map((n) => [n, Math.max(...values(own, n))]));
  const [scores, size, lacking, place] = [{}, {}, {}, {}];
  compared.forEach(({ key, bytes, logs }, i) => {
    const total = used.reduce((sum, n) => sum + weights[n] * (own[i][n][0] - best[n]), 0);
    const down = Math.hypot(...used.map((n) => weights[n] * own[i][n][1]));
    const up = Math.hypot(...used.map((n) => weights[n] * own[i][n][2]));
    scores[key] = [total, total - down, total + up];
    size[key] = bytes ?? Infinity;
    lacking[key] = used.some((n) => !logs[n]);
    place[key] = i;
  });
  const ranked = Object.keys(scores).sort(
    (a, b) => scores[b][0] - scores[a][0] || lacking[a] - lacking[b] || (a < b ? -1 : 1),
  );
  if (!used.length || !ranked.length) return null;
  let top = place[ranked[0]];
  const worth = (n) => weights[n] * Math.log1p(n === "quality" ? rules.qualityIndifference : rules.indifference);
  const positive = Object.keys(weights).filter((n) => weights[n] > 0);
  const band = weights[main] ? worth(main) : Math.min(...positive.map(worth));
  const gap = (key) => {
    const [mine, theirs] = [own[top], own[place[key]]];
    let [value, half] = [0, 0];
    for (const n of used) {
      const difference = mine[n][0] - theirs[n][0];
      const [near, far] = difference >= 0 ? [1, 2] : [2, 1];
      const unpaired = [difference, Math.hypot(mine[n][near], theirs[n][far])];
      const [ahead, width] = n === main ? (compared[top].ahead[key]?.[n] ?? unpaired) : [difference, 0];
      value += weights[n] * ahead;
      half += weights[n] * width;
    }
    return [value - half, value + half];
  };
  for (const key of ranked.slice(1)) {
    if (gap(key)[1] < 0) top = place[key];
  }
  const tied = (key) => -band <= gap(key)[0] && gap(key)[1] <= band;
  const first = compared[top].key;
  const ties = [first, ...ranked.filter((key) => key !== first && tied(key))];
  const smallest = Math.min(...ties.map((k) => size[k]));
  const winner = ties.find((k) => size[k] <= rules.sameSize * smallest);
  return { winner, ties, ranked, scores };
}
