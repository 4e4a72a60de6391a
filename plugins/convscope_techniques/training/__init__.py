"""What techniques that train networks share."""
