"""Foreign datasets -> the one layout that everything else reads: VOC's folders, palette masks, a tags file."""
