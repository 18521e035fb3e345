"""Running a machine: the controller's loop, accelerators, deadlines, scenarios."""
