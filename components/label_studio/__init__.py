"""Label Studio's ML backend: annotators correct the model's masks instead of drawing their own."""
