// node javascript/node.mjs [MODEL [MODULE]]     in the folder that contains canary/
// MODULE is the module of ONNX Runtime: onnxruntime-node, or a file of onnxruntime-web, which needs no native code.
// Exit code 0: the outputs are the proven ones. 1: they differ.
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { run } from "./canary.mjs";

globalThis.require ??= createRequire(import.meta.url); // onnxruntime-web's file for browsers asks for it in Node.js
const [model = "ort/model.ort", name = "onnxruntime-node"] = process.argv.slice(2);
const loaded = await import(name);
const ort = loaded.InferenceSession ? loaded : loaded.default;
const told = await run(ort, await readFile(model), (file) => readFile(`canary/${file}`));
for (const one of told)
  console.log(`${one.name}: differs by ${one.difference.toPrecision(3)} from the proven output (allowed: ${one.allowed})`);
const proven = told.every((one) => one.proven);
console.log(`${model}: ${proven ? "the proven outputs" : "NOT the proven outputs"}`);
process.exitCode = proven ? 0 : 1;
