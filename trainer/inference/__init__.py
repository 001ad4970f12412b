"""How networks look at whole pictures: sizes, views and tiles."""
