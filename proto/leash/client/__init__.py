"""The client of leashd that shims and the command line share: find the daemon, start it, speak to it."""
