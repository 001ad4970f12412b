"""LabelCalibration: finds the label core's values on strong images, as if their categories were weak."""
