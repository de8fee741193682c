"""What runs as a service: web application, settings, store, logs, pages. Knows Flask; decides nothing clinical."""
