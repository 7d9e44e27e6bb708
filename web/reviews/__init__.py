"""What people say of pictures: kept append-only, told with its agreement, published as a table."""
