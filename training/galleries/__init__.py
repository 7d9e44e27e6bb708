"""Best and worst pictures, and pictures like a picture."""
