"""The methods of explanation, a file each."""
