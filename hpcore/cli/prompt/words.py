"""The words that can be typed: the steps of a scenario, and a few about the prompt itself."""

from __future__ import annotations

STEPS = {
    "boot": ("boot", "create and start the machine"),
    "plug": ("plug 2; plug: {id: a, core-id: 2}", "plug a vCPU: its index, or a device_add"),
    "unplug": ("unplug cpu2; unplug: {id: a, force: true}", "have the guest give a vCPU back"),
    "scale": ("scale 4", "plug or unplug until so many are enabled"),
    "online": ("online 2", "have the guest bring a vCPU up; an id or an index"),
    "offline": ("offline 2", "have the guest take a vCPU down"),
    "shell": ("shell uname -r", "run a line in the guest; it must exit 0"),
    "expect": ("expect: {online: 0-2, slots: {2: online}}", "what must be so within 15 s"),
    "reset": ("reset", "reset the machine"),
    "reboot": ("reboot", "have the guest reboot itself"),
    "rebooted": ("rebooted", "wait for a reset that the guest makes by itself"),
    "pause": ("pause", "stop the machine's time"),
    "resume": ("resume", "let it go on"),
    "poweroff": ("poweroff", "have the guest power the machine off"),
    "migrate": ("migrate", "carry the machine to another process"),
    "save-machine": ("save-machine vm.saved", "write the machine to a file, for hpcore restore"),
    "call": ("call: {eject: 2}", "have a played guest make one call"),
    "settle": ("settle", "wait until nothing is under way"),
    "wait": ("wait 2s", "let time pass"),
    "repeat": ("repeat: {times: 3, steps: [plug: 2, unplug: cpu2]}", "take steps several times"),
}
"""Every step, with how it is typed and what it does."""

PROMPT = {
    "slots": ("slots", "show every vCPU"),
    "console": ("console", "show what the guest prints, or show it no more"),
    "save": ("save FILE", "write what was done as a scenario"),
    "log": ("log", "say where the log goes"),
    "help": ("help; help plug", "show these words"),
    "quit": ("quit", "leave, as Ctrl-D does; the machine ends, but for one that is kept"),
    "end": ("end", "end the machine, also one that is kept, and leave"),
}
"""Every word about the prompt itself."""

WORDS = {**STEPS, **PROMPT}
