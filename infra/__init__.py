"""What surrounds the product: the sandbox platform, images, schedules."""
