"""LabelCalibration: finds the label core's open values on strong images, whose masks are known."""
