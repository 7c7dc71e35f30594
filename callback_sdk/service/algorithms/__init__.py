"""What can be run: registered algorithms, their input schemas, and what they get."""
