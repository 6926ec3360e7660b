"""What the commands compute from run folders, without a word of how it is shown."""
