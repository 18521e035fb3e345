"""kill -9 of hpcore at random moments, over and over; each time the machine is taken up again.

    python -m tests.tcg.kills --kills 200 --seed 1

`worker` is the hpcore that is killed: it drives a machine at random and says all that a user is
told. `driver` kills it, has another one attach, and judges: `judge` holds what was told against
the log, `worker` the word of the accelerator's `witness` on every slot against the model.
"""
