"""What readers see: notebooks, cards, README, site, slides."""
