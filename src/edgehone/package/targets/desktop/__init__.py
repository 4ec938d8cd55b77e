"""The target `desktop`: folders that programs for laptops and desktops load."""
