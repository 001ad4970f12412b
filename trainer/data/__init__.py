"""The room that data come through: names, tables, category names, pictures and masks, each read in one way."""
