"""What a log promises, tested on real files, real faults and killed processes."""
