// Judges Argo Rollouts' objects on standard input by @kubernetes-models/argo-rollouts. It finds wrong types and missing
// fields, but passes unknown ones, which the strict schemas of the target find.
import fs from "node:fs";
import * as models from "@kubernetes-models/argo-rollouts/argoproj.io/v1alpha1";

const problems = [];
for (const one of JSON.parse(fs.readFileSync(0, "utf8"))) {
  try {
    new models[one.kind](one).validate();
  } catch (error) {
    problems.push(`${one.kind}: ${error.message}`);
  }
}
if (problems.length) {
  console.error(problems.join("\n"));
  process.exit(1);
}
