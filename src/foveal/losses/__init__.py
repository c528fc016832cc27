"""Losses that two or more methods share: functions of tensors that know of ranks."""
