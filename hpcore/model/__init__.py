"""The protocol, declared once: machines, events, guards, invariants. Pure; knows no I/O.

    stimulus --> decide(state, stimulus) --> events --> evolve(state, event) --> state
                                         `-> effects --> accelerator --> stimulus ...

Read `machines` for the tables, `guards` for what may be refused and why, `rules` for the
orders, `decide` for the loop's left half, `evolve` for its right, `invariants` for what
must hold throughout.
"""
