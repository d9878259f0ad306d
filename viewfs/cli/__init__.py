"""The verbs of ``viewfs``, one module each."""
