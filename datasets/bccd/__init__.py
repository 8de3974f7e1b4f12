"""Blood cells under the microscope with their boxes: a tensorflow-datasets builder."""
