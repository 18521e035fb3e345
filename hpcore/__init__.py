"""arm64 vCPU hotplug as one checked, event-sourced state machine."""

__version__ = "0.2.0"
