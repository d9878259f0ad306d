"""Profiles: YAML files in, one checked and merged :class:`~cotune.profile.load.Profile` out."""
