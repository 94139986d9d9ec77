"""The shell of the node: sockets, rows, files, clock, processes and commands. Read `lifecycle` first, then `steps`."""
