"""What all tests share: figures they found, printed at the end of the run."""

from __future__ import annotations

import signal

import pytest

# a run in the background of a script ignores SIGINT, and so would every process that tests interrupt
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SUMMARY = "figure"
"""Name of a recorded property whose text is printed before pytest's closing line."""


def pytest_configure(config: pytest.Config) -> None:
    """Machines are noisy, and the first example of a run also imports: time decides over no example of hypothesis."""
    if config.pluginmanager.hasplugin("hypothesispytest"):  # not in the guest of tests/vm, where it takes long to load
        from hypothesis import settings

        settings.register_profile("untimed", deadline=None)
        settings.load_profile("untimed")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show what tests recorded under ``SUMMARY``, such as how many runs were killed."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == SUMMARY and getattr(report, "when", "") == "call":
                    terminalreporter.write_line(str(value))
