"""The other half of the model: who acts on a machine, and what may come when."""
