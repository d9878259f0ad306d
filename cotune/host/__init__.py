"""What a host is made of: cgroup hierarchies, disks, mounts and facts, read through the Kernel port."""
