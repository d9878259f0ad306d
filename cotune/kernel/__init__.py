"""The Kernel port: the only road to kernel files."""
