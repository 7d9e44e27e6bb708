"""What people call pictures, in terms of ImageNet's classes: the class tree and category maps."""
