"""Small configurations, state by state: loops, and pictures."""
