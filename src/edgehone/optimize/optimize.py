"""The whole run: a model, a device and a workload go in; one bundle and the evidence for it come out.

inspect → plan → build → parity check → measure → tune → decide → bundle

Read this file first. Each step is one file of this folder; `docs/architecture.md` says which.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from edgehone import bundle
from edgehone.core import config
from edgehone.core.events import Event
from edgehone.decision.decision import Decision
from edgehone.optimize.adapter import with_adapter
from edgehone.optimize.evaluate import against, bottleneck, measure, parity
from edgehone.optimize.evaluate.drift import include_drift
from edgehone.optimize.evaluate.evaluators import score_original
from edgehone.optimize.evaluate.speed_rounds import Contest, in_epoch
from edgehone.optimize.evaluate.verify_on_target import verify_on_target
from edgehone.optimize.executors import open_executors
from edgehone.optimize.intermediates import discard
from edgehone.optimize.make_decision import make_decision, nothing_passes
from edgehone.optimize.options import OptimizeOptions, Options
from edgehone.optimize.predict.predict import predict
from edgehone.optimize.search.clock import Clock
from edgehone.optimize.search.history import study_of
from edgehone.optimize.search.search import search
from edgehone.optimize.setup import Setup, requirements, set_up
from edgehone.optimize.tune.tune import chosen_trial, tune
from edgehone.optimize.write_bundle import write_bundle

if TYPE_CHECKING:
    from edgehone.optimize.original import Original
    from edgehone.optimize.trial import Trial


def optimize(model: str | Path, **options: Unpack[Options]) -> Decision:
    """Optimize a model for a device, prove the result against the original, and write it as a bundle.

    `model` is a Hugging Face folder, an ONNX, .pt2 or GGUF file, or a name in a store of this machine
    (`edgehone.model.stores.locate`). The options, all by keyword:

    - `device`: None is this machine. `ssh://user@host` is measured over SSH. A name of the device catalogue is
      predicted: quality and size are proven on this machine, speed and memory are predictions labelled as such.
    - `workers`: a Dask scheduler (`tcp://host:8786`). Its workers build; those named `device` are measured.
    - `workload`: name of a workload: prompt and output lengths, batch, concurrency. Default: by the model's task.
    - `effort`: "quick", "normal" (default) or "thorough": how many recipes, evaluation windows and rounds.
    - `time`: seconds. Search all recipes, the most promising first, and choose the best one proven by then.
      Without it, every recipe of the effort is tried.
    - `backends`: names of the backends to try. Default: all that take the model.
    - `evaluation`, `calibration`: text files, or samples for a model that generates no text.
    - `chat`: conversations (JSON lines) that a chat model is evaluated on; "" takes the shipped ones.
    - `task`: multiple-choice questions (JSON lines). `metric`: a metric for samples with labels.
    - `task_kind`: what the outputs of a graph decide, such as "detection"; by default it is recognized.
    - `axes`: the axes of a graph's input or output, such as `x=time,batch,features`; by default they are recognized.
    - `states`: outputs of a graph that the next step takes as inputs, such as `hn=h`; samples are then sequences.
      By default they are recognized by their names if the samples lack these inputs.
    - `pictures`: a folder or JSON lines, for vision-language models.
    - `adapter`: a LoRA adapter (PEFT folder), which is merged into the model first. `keep_adapter`: candidates keep it
      in a file of its own beside the base, where the runtime can; they are compared with the merged model.
    - `against`: for a quantized GGUF file, its float original: the loss against that is told, too.
    - `gates`: `name=value` or `name=off`. `subject_to`: limits such as `bytes<=60MB`. `targets`: wishes such as
      `decode>=30`: the best that meets all is chosen, else the nearest.
    - `minimize`, `maximize`: objectives. `weights`: their weights instead, such as `speed=1,quality=8`.
    - `when_busy`: if other programs leave no undisturbed time to measure in: "wait" for a while and measure again
      (default), "measure" as it is, or "stop".
    - `fallback`: if no candidate passes every gate, write the best that keeps the quality, not approved (default).
    - `memory`, `disk`: bytes that builds and the store of this run may take; recipes that need more are left out.
    - `out`: folder of the bundle; None writes no bundle. `config_file`: instead of ./edgehone.toml.
    - `emit`: function that receives progress events.

    Raises TypeError for an unknown option, InputError for input that cannot be used, SetupError for what the
    machine lacks, NothingPasses, which carries the decision, if no candidate passes every gate (NotDecided if one may,
    but its speed could not be measured precisely enough), and MachineBusy if the machine is too busy and `when_busy` is
    "stop".
    """
    chosen_options = with_adapter(OptimizeOptions.of(model, options))
    clock = Clock(chosen_options.time) if chosen_options.time else None
    settings = config.read(chosen_options.config_file)
    required = requirements(chosen_options, settings)
    if chosen_options.out is not None:
        bundle.check_target(Path(chosen_options.out))
    with open_executors(chosen_options) as executors:
        setup = set_up(chosen_options, settings, executors, required)  # inspect, plan
        return _run(setup, clock)


def _run(setup: Setup, clock: Clock | None) -> Decision:
    """Evaluate the planned recipes, decide and write the bundle."""
    trials = setup.trials()
    ctx, original = score_original(in_epoch(setup.ctx, trials))
    setup = setup.with_context(ctx)
    if again := setup.predicted_again(original.reference):
        ctx.emit(Event("", detail=again))
    required, weights = setup.required, setup.required.over(ctx.workload.weights)
    study = study_of(ctx, required, weights)

    if clock:
        search(ctx, original, trials, required, weights=weights, clock=clock, study=study)
    else:
        parity.check(ctx, original, trials, required)  # build, parity check
        measure.measure(ctx, original, trials, Contest(required, weights))

    notes = against.score(ctx, original, trials, required)
    if ctx.prediction_target:
        study.record(*trials)  # the measurements, before predictions replace them
        notes += predict(ctx, original, trials)
    else:  # settings and bottlenecks found on this machine would say nothing about another device
        trials += tune(ctx, original, trials, required, weights, clock=clock, study=study)
        chosen = chosen_trial(trials, original, required, weights)
        bottleneck.add_bottleneck(ctx, original, chosen, trials)
        measure.sweep_finalists(ctx, original, chosen)
        notes += include_drift(ctx, [original.baseline, *trials])

    ctx.emit(Event("", detail="deciding"))
    decide = partial(make_decision, setup, original, trials, weights, notes)
    decision = verify_on_target(ctx, original, trials, decide)
    if not ctx.prediction_target:
        study.record(*trials)
    discard(ctx, original, trials)
    ctx.emit(Event(""))
    return _write(setup, decision, original, trials)


def _write(setup: Setup, decision: Decision, original: Original, trials: list[Trial]) -> Decision:
    """Write the bundle of the chosen candidate, else of the fallback. Raises NothingPasses if none is chosen."""
    options = setup.options
    wanted = decision.bundled if options.fallback else decision.chosen
    written = Path(options.out) if options.out is not None and wanted is not None else None
    if written is not None:
        write_bundle(written, decision, setup.ctx, original, trials, command=options.command())
    if decision.chosen is None:
        raise nothing_passes(decision, options, written)
    return decision
