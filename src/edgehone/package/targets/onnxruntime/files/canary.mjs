// Runs the canary with ONNX Runtime and compares the outputs with the proven ones; for Node.js and for browsers.

const KINDS = {
  float32: Float32Array, float64: Float64Array, float16: Uint16Array, bool: Uint8Array,
  int8: Int8Array, int16: Int16Array, int32: Int32Array, int64: BigInt64Array,
  uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array, uint64: BigUint64Array,
};

function half(bits) {
  const exponent = (bits >> 10) & 31, fraction = bits & 1023;
  const size = exponent === 0 ? fraction * 2 ** -24
    : exponent === 31 ? (fraction ? NaN : Infinity) : (fraction + 1024) * 2 ** (exponent - 25);
  return bits & 0x8000 ? -size : size;
}

const halves = (type, data) => type === "float16" && data instanceof Uint16Array;
const numbers = (type, data) => Array.from(data, halves(type, data) ? half : Number);

// The largest difference as a share of the largest proven entry; for whole numbers, the share of unequal entries.
function difference(type, expected, found) {
  let apart = 0, largest = 0, unequal = 0;
  expected.forEach((a, at) => {
    const b = found[at];
    if (Number.isFinite(a)) largest = Math.max(largest, Math.abs(a));
    if (a === b || (Number.isNaN(a) && Number.isNaN(b))) return;
    unequal += 1;
    apart = Math.max(apart, Number.isNaN(a - b) ? Infinity : Math.abs(a - b));
  });
  if (!type.startsWith("float")) return unequal / Math.max(1, expected.length);
  return apart / (largest || 1);
}

// `ort` is the module of ONNX Runtime, `model` the bytes of the model, `read` returns the bytes of a file of canary/.
// Returns for each output {name, shape, values, difference, allowed, proven}.
export async function run(ort, model, read) {
  const canary = JSON.parse(new TextDecoder().decode(await read("canary.json")));
  const entries = async (one) => {
    const bytes = new Uint8Array(await read(one.file)); // a copy, aligned for every type
    return new KINDS[one.type](bytes.buffer);
  };
  const session = await ort.InferenceSession.create(model);
  const feeds = {};
  for (const one of canary.inputs) feeds[one.name] = new ort.Tensor(one.type, await entries(one), one.shape);
  const answer = await session.run(feeds);
  const told = [];
  for (const one of canary.outputs) {
    const output = answer[one.name];
    const same = output?.type === one.type && String(output.dims) === String(one.shape);
    const values = same ? numbers(one.type, output.data) : [];
    const apart = same ? difference(one.type, numbers(one.type, await entries(one)), values) : Infinity;
    told.push({ name: one.name, shape: one.shape, values, difference: apart, allowed: one.allowed, proven: apart <= one.allowed });
  }
  return told;
}
