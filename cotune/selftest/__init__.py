"""Probes that show what a kernel really does with its cgroup files, run in scratch groups of their own."""
