"""What an accelerator promises, as checks that any accelerator's tests can run."""
