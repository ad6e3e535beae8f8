"""Pure decisions: functions of evidence, with no clock, disk, network or framework."""
