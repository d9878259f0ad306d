"""From a shell script to the profile it amounts to. The script is parsed and never run.

``tokens`` and ``shell`` read the language, ``expand`` its words, ``commands`` what programs would do, ``lines`` puts
them together into effects on the kernel, ``places`` says what a kernel file is to cotune, ``profile`` writes the
profile.
"""
