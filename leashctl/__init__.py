"""The command line: thin clients of the daemon, and ``wrap``, which hosts a shim for one program.

Every module here imports what it needs when it needs it: a command's start-up time is part of what it promises.
"""

# What the package is called on the index, where others have the names of the commands.
DISTRIBUTION = "leash-governor"
