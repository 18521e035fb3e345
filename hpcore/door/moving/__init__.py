"""A machine that goes to another door, or into a file, and comes from there: `migrate` and
`migrate-incoming`, as a client of QEMU gives them.

What hpcore knows of the machine travels before QEMU's stream, in the client's own connection:

    source's QEMU --> door --- head, log, stream, rest, end --> door --> destination's QEMU

Why before it, and not inside: QEMU's stream has no place for what is not QEMU's, and a region
of memory that would have one is a part of the machine that a reset, a dump and another version
see. Why not in a second connection or file: a client gives one descriptor, and keeps one file.
Why the head comes first: whether the machine fits is known before a byte of it is loaded, and the
words reach the source while it still has everything. What a guest that runs while it is carried
adds to the log is the rest: it is sent once the guest stands still, and all that it has said is in
the log.
"""
