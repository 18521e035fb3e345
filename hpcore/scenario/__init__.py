"""Scenarios: a machine and the steps to take with it, read, written and played.

    outcome = await run_job(Job(load("cover-letter"), find("qtest"), GuestScript(), log))
    assert outcome.ok, outcome.results[-1].error

What a scenario is: values; as YAML: read, read_steps, yaml_values, write, with durations; as it
was typed: retold. What may not run here: fits. Its steps on a live
machine: play, with reboots for the guest's own resets; one scenario on one accelerator, from
log file to verdict: runner.
"""

from hpcore.scenario.play import Latencies, Player, ScenarioStepFailed, StepResult, TellStep
from hpcore.scenario.read import bundled, load, parse
from hpcore.scenario.runner import Job, Outcome, run_job
from hpcore.scenario.values import Line, Scenario, ScenarioStep
from hpcore.scenario.write import dump
from hpcore.scenario.yaml_values import ScenarioError

__all__ = [
    "Job",
    "Latencies",
    "Line",
    "Outcome",
    "Player",
    "Scenario",
    "ScenarioError",
    "ScenarioStep",
    "ScenarioStepFailed",
    "StepResult",
    "TellStep",
    "bundled",
    "dump",
    "load",
    "parse",
    "run_job",
]
