// What is plotted: rows of panels. A line is a metric with a figure (`stat`: value, rate, p50, p95, p99), joined where the
// labels `by` are equal, and shown as a share `of` what other fields give. `empty` says why a panel may have no figures; `limit` is
// drawn as a line.

const ofModel = (name) => ({ by: ["model"], name: ({ model }) => `${name} ${model}`.trim() });
const quantiles = (metric, stats) => stats.map((stat) => ({ metric, stat, ...ofModel(stat), join: mostOf }));
const plain = (metric, stat, name) => ({ metric, stat, name: () => name });

// Requests to models, not those of this page or of Prometheus.
const isServed = ({ path }) => /^\/v1\/(?!models)|\/infer$|ModelInfer$/.test(path);
// gRPC tells names instead of numbers. 499, CANCELLED: the client left, which is no error.
const REFUSED = /^4(?!99)|^(RESOURCE_EXHAUSTED|INVALID_ARGUMENT|NOT_FOUND|UNAUTHENTICATED|PERMISSION_DENIED)$/;
const FAILED = /^5|^(INTERNAL|UNAVAILABLE|DEADLINE_EXCEEDED|UNKNOWN)$/;
const requests = (name, fits) => ({ metric: "edgehone_requests_total", stat: "rate", fits: (labels) => isServed(labels) && fits(labels.status), name: () => name });
const security = (metric, name) => ({ ...plain(`edgehone_${metric}_total`, "rate", name), factor: 60 });

const NO_TOKENS = "graphs have no tokens";
const NO_REFERENCE = "no bundle has reference samples";
const ROWS = [
  {
    title: "Requests",
    panels: [
      { title: "Requests per second", unit: "", empty: "no request came", lines: [
        requests("answered", (status) => !REFUSED.test(status) && !FAILED.test(status)),
        requests("refused", (status) => REFUSED.test(status)),
        requests("failed", (status) => FAILED.test(status)),
      ] },
      { title: "Failures per minute, by reason", unit: "", empty: "no request failed", lines: [
        { metric: "edgehone_failures_total", stat: "rate", factor: 60, by: ["model", "reason"], name: ({ model, reason }) => `${reason} ${model}` },
      ] },
      { title: "Latency", unit: "s", empty: "no request was answered", lines: quantiles("edgehone_request_seconds", ["p50", "p95", "p99"]) },
      { title: "Time to the first token", unit: "s", empty: NO_TOKENS, lines: quantiles("edgehone_first_token_seconds", ["p50", "p95", "p99"]) },
      { title: "Time per further token", unit: "s", empty: NO_TOKENS, lines: quantiles("edgehone_token_seconds", ["p50", "p95"]) },
      { title: "Tokens per second", unit: "", empty: NO_TOKENS, lines: [
        { metric: "edgehone_generated_tokens_total", stat: "rate", ...ofModel("answers of") },
        { metric: "edgehone_prompt_tokens_total", stat: "rate", ...ofModel("prompts of") },
      ] },
      { title: "Queue", unit: "", lines: [
        { metric: "edgehone_waiting_requests", stat: "value", ...ofModel("waiting for") },
        { metric: "edgehone_running_requests", stat: "value", ...ofModel("running in") },
      ] },
    ],
  },
  {
    title: "Quality and drift",
    panels: [
      // Of the logarithm: each further 10 % multiply the evidence by the same factor.
      { title: "Evidence of drift, of what raises an alarm", unit: "share", empty: NO_REFERENCE, limit: 1, lines: [
        { metric: "edgehone_drift_log10_evidence", stat: "value", by: ["model", "name"], join: mostOf, of: { metric: "edgehone_drift_log10_needed" }, name: ({ model, name }) => `${name} ${model}` },
      ] },
      { title: "Drift alarms", unit: "", empty: NO_REFERENCE, lines: [
        { metric: "edgehone_drift_alarm", stat: "value", fits: ({ kind }) => kind !== "any", by: ["model", "kind"], join: mostOf, name: ({ model, kind }) => `${kind} ${model}` },
      ] },
      { title: "Confidence: entropy of answers", unit: "share", empty: "no answer had probabilities", lines: quantiles("edgehone_confidence_entropy", ["p50", "p95"]) },
      { title: "Confidence: margin of answers", unit: "share", empty: "no answer had probabilities", lines: quantiles("edgehone_confidence_margin", ["p50", "p5"]) },
      { title: "Answers that labels call right", unit: "share", empty: "no label was sent back", lines: [
        { metric: "edgehone_labels_total", stat: "rate", fits: ({ correct }) => correct === "true", of: { fits: () => true }, ...ofModel("") },
      ] },
      { title: "Feedback per minute", unit: "", empty: "no feedback was sent", lines: [
        { metric: "edgehone_feedback_total", stat: "rate", factor: 60, by: ["model", "verdict"], name: ({ model, verdict }) => `${verdict} ${model}` },
      ] },
    ],
  },
  {
    title: "Machine",
    panels: [
      { title: "Processors used", unit: "", lines: [
        { metric: "edgehone_cpu_seconds_total", stat: "rate", by: ["part", "model"], name: ({ part, model }) => `${part} ${model}`.trim() },
      ] },
      { title: "Memory of the processes", unit: "bytes", lines: [
        { metric: "edgehone_resident_memory_bytes", stat: "value", by: ["part", "model"], name: ({ part, model }) => `${part} ${model}`.trim() },
      ] },
      { title: "Memory that is available", unit: "bytes", lines: [plain("edgehone_machine_memory_available_bytes", "value", "available")] },
      { title: "Time in which processes waited for a processor", unit: "share", empty: "the kernel tells no pressure", lines: [plain("edgehone_machine_cpu_pressure_ratio", "value", "waited")] },
      { title: "Temperature", unit: "°C", empty: "the kernel tells no temperature", lines: [
        { metric: "edgehone_machine_temperature_celsius", stat: "value", by: ["zone"], join: mostOf, name: ({ zone }) => zone },
      ] },
      { title: "Clock of the processors", unit: "Hz", empty: "the kernel tells no frequency", lines: [plain("edgehone_machine_frequency_hertz", "value", "mean")] },
      { title: "Throttled", unit: "share", empty: "the machine does not tell whether it lowers its clock", lines: [plain("edgehone_machine_throttled", "value", "of the time")] },
      { title: "Free disk", unit: "bytes", lines: [
        { metric: "edgehone_disk_free_bytes", stat: "value", by: ["folder"], join: mostOf, name: ({ folder }) => folder },
      ] },
      { title: "Engine restarts since the server began", unit: "", lines: [{ metric: "edgehone_engine_restarts", stat: "value", ...ofModel("") }] },
      { title: "Ready", unit: "share", lines: [{ metric: "edgehone_ready", stat: "value", ...ofModel("") }] },
    ],
  },
  {
    title: "Tenants and security",
    panels: [
      { title: "Requests per second, by tenant", unit: "", empty: "no request came", lines: [
        { metric: "edgehone_tenant_requests_total", stat: "rate", by: ["tenant"], name: ({ tenant }) => tenant },
      ] },
      { title: "Tokens per second, by tenant", unit: "", empty: NO_TOKENS, lines: [
        { metric: "edgehone_tenant_tokens_total", stat: "rate", by: ["tenant"], name: ({ tenant }) => tenant },
      ] },
      { title: "Cost per hour, by tenant", unit: "", empty: "the settings have no prices", lines: [
        { metric: "edgehone_tenant_cost_total", stat: "rate", factor: 3600, by: ["tenant"], name: ({ tenant }) => tenant },
      ] },
      { title: "Power, by tenant", unit: "W", empty: "the machine has no counter of energy", lines: [
        { metric: "edgehone_tenant_energy_joules_total", stat: "rate", by: ["tenant"], name: ({ tenant }) => tenant },
      ] },
      { title: "Refused per minute", unit: "", lines: [
        security("refused_keys", "keys"), security("oversized_requests", "oversized"),
        security("malformed_requests", "malformed"), security("template_violations", "template violations"),
      ] },
      { title: "Changed files of bundles", unit: "", empty: "no bundle is certified", lines: [{ metric: "edgehone_changed_files", stat: "value", ...ofModel("") }] },
    ],
  },
];

const METRICS = [...new Set(ROWS.flatMap((row) => row.panels.flatMap((panel) => panel.lines.flatMap((line) => [line.metric, line.of?.metric ?? line.metric]))))];
