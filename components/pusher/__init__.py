"""TFX's Pusher with an executor that pushes no model twice in a row."""
