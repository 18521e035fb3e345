"""How much of the code do the tests hold? One small change at a time is made, and must be found.

    python -m tests.mutation --seed 1 --sample 400 --jobs 2

A changed program is a *mutant*; one that a test fails on is *found*, the others *survive*.
The rooms, in the order in which a run goes through them:

- `operators` says what is changed, `places` where nothing is, `mutants` makes them.
- `known` reads the survivors that were looked at already, with the reason for each.
- `suite` names the tests that are run, `measure` finds which of them run a line.
- `plan` says which tests a mutant needs, and in which order.
- `running` changes a program that runs; `afresh` imports it changed. `forks` keeps the
  processes and their time limits, `trial` is what happens in one.
- `report` is the table and the JSON.

Nothing in the tree is written but below `build/mutation`; a mutant lives in memory. So tests that
start `hpcore` in a process of its own see the code unchanged, and find nothing here.
"""
