// How values are written, and round numbers on axes.

const SIZES = [[1e12, "TB"], [1e9, "GB"], [1e6, "MB"], [1e3, "kB"]];

const short = (value) => value.toLocaleString("en", { maximumSignificantDigits: 3 });

// A factor by which a unit is shown in larger or smaller ones, by the size of the largest value on the axis.
function scaleOf(unit, most) {
  if (unit === "bytes") return SIZES.find(([size]) => most >= size) ?? [1, "B"];
  if (unit === "s") return most >= 1 ? [1, "s"] : [1e-3, "ms"];
  if (unit === "share") return [0.01, "%"];
  if (unit === "Hz") return most >= 1e9 ? [1e9, "GHz"] : [1e6, "MHz"];
  return [1, unit];
}

function written(value, unit) {
  if (value === null) return "–";
  const [factor, name] = scaleOf(unit, Math.abs(value));
  return `${short(value / factor)}${name ? ` ${name}` : ""}`;
}

// About four round numbers from 0, or from the least value below it, to above the largest.
function ticksTo(least, most, unit) {
  const [factor] = scaleOf(unit, most);
  const span = (Math.max(0, most) - Math.min(0, least)) / factor || 3;
  const power = 10 ** Math.floor(Math.log10(span / 3));
  const step = [1, 2, 5, 10].find((one) => one * power * 3.5 >= span) * power;
  const first = Math.floor(Math.min(0, least) / factor / step);
  const last = Math.max(first + 1, Math.ceil(Math.max(0, most) / factor / step - 1e-9));
  return Array.from({ length: last - first + 1 }, (_, index) => (first + index) * step * factor);
}

const MINUTE = 60, HOUR = 3600, DAY = 86400;
const TIME_STEPS = [MINUTE, 2 * MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY];

// Times at whole minutes, hours or days of the reader's clock, at most five.
function timeTicks(from, to) {
  const step = TIME_STEPS.find((one) => (to - from) / one <= 5) ?? 7 * DAY;
  const offset = new Date(from * 1000).getTimezoneOffset() * 60;
  const found = [];
  for (let at = Math.ceil((from - offset) / step) * step + offset; at <= to; at += step) found.push(at);
  return found.map((at) => [at, timeText(at, step >= DAY)]);
}

function timeText(at, days) {
  const how = days ? { day: "numeric", month: "short" } : { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  return new Date(at * 1000).toLocaleString("en-GB", how);
}
