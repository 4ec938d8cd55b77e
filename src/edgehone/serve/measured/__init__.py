"""What is measured of requests, models and the machine, besides what answers need."""
