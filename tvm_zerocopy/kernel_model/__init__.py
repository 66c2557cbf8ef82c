"""What a GPU kernel takes and how long it should: counted in its code, not measured. Works without a GPU."""
