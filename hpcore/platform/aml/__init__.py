"""An AML encoder for the few objects of our DSDT: functions that return bytes."""
