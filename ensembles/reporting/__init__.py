"""Reports: what is measured of an ensemble and its members, as run folders, text and pages."""
