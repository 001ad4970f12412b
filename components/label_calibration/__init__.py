"""LabelCalibration: finds the label core's open values on strong images, as if their categories were weak."""
