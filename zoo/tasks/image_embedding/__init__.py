"""Image embedding: vectors of images, near for equal classes, of classes never seen too."""
