"""What `hpcore shell` is made of: the words that are typed, and the two ways they come in.

The words and what becomes of them: session, with words; typed at a terminal: terminal, with
completion and slots; piped in: piped. What the guest prints meanwhile: console.
"""
