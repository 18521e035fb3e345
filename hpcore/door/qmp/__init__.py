"""QMP at the door: the real QEMU's, with what hpcore answers about vCPUs put in its place.

A client's bytes are cut into requests as QEMU cuts them (lexer, values, requests), and each
is answered by hpcore or passed on as it came (conversation, answers); what QEMU says is
passed back (lines, outbox), with descriptors in both directions (wire). The monitors that a
caller asked for take their clients by `Monitors`; those with a prompt are `PromptMonitor`s.
What is answered about vCPUs is in `VcpuCommands`.
"""

from hpcore.door.qmp.answers import Answers, Handler, Passes, QmpError, RealMonitor
from hpcore.door.qmp.monitor import Dialled, Listening, Monitor, Monitors, QemuGone, connect
from hpcore.door.qmp.prompt import PromptMonitor
from hpcore.door.qmp.vcpus import VcpuCommands, machine_list

__all__ = [
    "Answers",
    "Dialled",
    "Handler",
    "Listening",
    "Monitor",
    "Monitors",
    "Passes",
    "PromptMonitor",
    "QemuGone",
    "QmpError",
    "RealMonitor",
    "VcpuCommands",
    "connect",
    "machine_list",
]
