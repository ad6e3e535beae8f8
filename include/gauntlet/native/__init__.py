"""Native libraries without their Python packages: what both the model server and the pipeline score with."""
