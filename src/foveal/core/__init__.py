"""What every layer may use: random numbers, files, schedules, ranks. Imports nothing above it."""
